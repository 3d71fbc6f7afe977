package redis

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// A server that refuses names is used without one.
func TestNamesRefused(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	rules := []string{
		"+@read", "+@write", "+@scripting", "+@connection", "+@pubsub", "+time", "~iprep:*", "&iprep:*", "-client|setname",
	}
	server.ACL("caddy", "s3cret", rules...)
	c := open(t, Options{
		Addresses: []string{server.Addr}, Credentials: func() (string, string, error) { return "caddy", "s3cret", nil },
	})
	awaitUp(t, c, true)
	exchange(t, c)
	other := connect(t, server.Addr)
	eventually(t, "others have a name", func() bool { return strings.Contains(server.CLI("CLIENT", "LIST"), "name=caddy-ip-reputation") })
	agree(t, map[string]string{"x": `1 "heard"`}, follow(t, c, entry("x", 1, "heard")), follow(t, other))
}

// After one refusal of a server that has become a replica, all connections lead to where the address
// leads by now.
func TestAddressMoves(t *testing.T) {
	t.Parallel()
	before, after := testenv.Redis(t), testenv.Redis(t)
	link := testenv.Proxy(t, before.Addr)
	var seen outcomes
	const many = 40
	c := open(t, Options{Addresses: []string{link.Addr}, Observe: seen.observe, PoolSize: many})
	awaitUp(t, c, true)
	spend := func() error {
		_, err := c.Count(t.Context(), ledger.Count{Account: "a", N: 1, Windows: []ledger.WindowCount{today(1000)}})
		return err
	}
	before.Pause() // so that each call needs a connection of its own
	var calls sync.WaitGroup
	for range maxFailures - 1 {
		calls.Go(func() { _ = spend() })
	}
	calls.Wait()
	before.Resume()
	awaitUp(t, c, true)
	connections := func() int { return strings.Count(before.CLI("CLIENT", "LIST"), "name=caddy-ip-reputation") }
	eventually(t, "there are connections", func() bool {
		var calls sync.WaitGroup
		for range many {
			calls.Go(func() { _ = spend() })
		}
		calls.Wait()
		return connections() >= 4
	})
	host, port, _ := net.SplitHostPort(after.Addr)
	before.CLI("REPLICAOF", host, port)
	link.Lead(after.Addr)
	eventually(t, "it is at the new master", func() bool {
		return spend() == nil && after.CLI("EXISTS", "iprep:v1:{quota:a}") == "1"
	})
	awaitUp(t, c, true)
	if n := seen.of(ReadOnly); n > 3 {
		t.Errorf("%d refusals until all connections were left", n)
	}
	eventually(t, "nobody is connected to the former one", func() bool { return connections() == 0 })
}

func TestReplyBound(t *testing.T) {
	page := "*3\r\n$1\r\n0\r\n:0\r\n*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n"
	for name, tc := range map[string]struct {
		replies string
		want    string
	}{
		"ours":             {"+OK\r\n$-1\r\n*-1\r\n_\r\n:-5\r\n" + page + "%1\r\n+a\r\n*0\r\n>2\r\n+a\r\n+b\r\n" + page, ""},
		"attribute":        {"*1\r\n|1\r\n+ttl\r\n:5\r\n$1\r\na\r\n" + page, ""},
		"many replies":     {strings.Repeat(page, 1000), ""},
		"a long string":    {"$1048577\r\n", "string of 1048577 bytes"},
		"beyond numbers":   {"$99999999999999999999\r\n", "string of"},
		"in an array":      {"*2\r\n+a\r\n$99999999\r\n", "string of 99999999 bytes"},
		"after a page":     {page + "=99999999\r\n", "string of 99999999 bytes"},
		"a long array":     {"*999999999\r\n", "999999999 elements"},
		"a long map":       {"%999999999\r\n", "999999999 elements"},
		"deep":             {strings.Repeat("*1\r\n", 100000), "17 deep"},
		"deep maps":        {strings.Repeat("%1\r\n+a\r\n", 100000), "17 deep"},
		"a line":           {"+" + strings.Repeat("a", 1<<20), "line of more than"},
		"an HTTP server":   {"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", ""},
		"a mail server":    {"220 mail.example.org ESMTP\r\n", ""},
		"looks like array": {"*2\r\n$3\r\n*99\r\n$3\r\n$99\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 3, 1 << 20} {
				var r replyBound
				err := error(nil)
				for rest := []byte(tc.replies); len(rest) > 0 && err == nil; {
					n := min(size, len(rest))
					err = r.check(rest[:n])
					rest = rest[n:]
				}
				if fmt.Sprint(err) != "<nil>" && tc.want == "" || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("in pieces of %d: %v, want %q", size, err, tc.want)
				}
				if tc.want == "" && err == nil && (len(r.pending) > 0 || r.skip > 0) && !strings.Contains(name, "server") {
					t.Errorf("in pieces of %d, the replies do not end: %+v", size, r)
				}
			}
		})
	}
}

// FuzzReplyBound proves that any bytes are bounded, and that it does not matter in which pieces they come.
func FuzzReplyBound(f *testing.F) {
	f.Add([]byte("*3\r\n$1\r\n0\r\n:0\r\n*0\r\n"))
	f.Add([]byte("%1\r\n|1\r\n-ERR\r\n\n\r\n$-1\r\n"))
	f.Fuzz(func(t *testing.T, replies []byte) {
		var whole, pieces replyBound
		err := whole.check(replies)
		reader, one := iotest.OneByteReader(bytes.NewReader(replies)), make([]byte, 1)
		var piecesErr error
		for piecesErr == nil {
			n, eof := reader.Read(one)
			if eof != nil {
				break
			}
			piecesErr = pieces.check(one[:n])
		}
		if fmt.Sprint(err) != fmt.Sprint(piecesErr) {
			t.Errorf("whole: %v, in pieces: %v", err, piecesErr)
		}
		if len(whole.pending) > maxDepth+1 || cap(whole.head) > 2*maxDigits || whole.skip > maxString+2 {
			t.Errorf("%+v", whole)
		}
	})
}

// What a server announces is refused before memory is reserved for it.
func TestNonsense(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"string": "$1073741824", "array": "*1073741824", "deep": strings.Repeat("*1\r\n", 1<<20) + ":1",
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, Options{Addresses: []string{testenv.RedisReplying(t, reply)}})
			eventually(t, "it is refused", func() bool { return strings.Contains(c.Status().Error, "redis answered with") })
			if s := c.Status(); s.Up || !strings.Contains(s.Cure, "prefix") {
				t.Errorf("%+v", s)
			}
		})
	}
}
