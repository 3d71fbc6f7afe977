package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcomes counts results.
type outcomes struct {
	mu     sync.Mutex
	counts [NumResults]int
}

func (o *outcomes) observe(r Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts[r]++
}

func (o *outcomes) of(r Result) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts[r]
}

// open returns a client that looks after its connection until the test ends.
func open(tb testing.TB, o Options) *Client {
	tb.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	c.Start()
	return c
}

// connect returns a client of the given servers that has reached them.
func connect(tb testing.TB, addrs ...string) *Client {
	tb.Helper()
	c := open(tb, Options{Addresses: addrs})
	awaitUp(tb, c, true)
	return c
}

func awaitUp(tb testing.TB, c *Client, up bool) {
	tb.Helper()
	deadline := time.After(30 * time.Second)
	for {
		changed := c.Changed()
		if c.Up() == up {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			tb.Fatalf("up is %t in the end, want %t: %+v", c.Up(), up, c.Status())
		}
	}
}

func eventually(tb testing.TB, what string, so func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("in vain: %s", what)
		}
	}
}

// TestWhatIsRefused proves that settings which cannot work are said to be wrong, with the cure.
func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options Options
		want    string
	}{
		"no address":           {Options{}, "name one, such as redis.example.com:6379"},
		"both":                 {Options{Addresses: []string{"a:1"}, Cluster: true, Master: "main"}, "remove one"},
		"database of cluster":  {Options{Addresses: []string{"a:1"}, Cluster: true, Database: 3}, "database 0 only"},
		"a URL":                {Options{Addresses: []string{"redis://:s3cret@a:1"}}, "write host:port"},
		"a password":           {Options{Addresses: []string{":s3cret@a:1"}}, "write host:port"},
		"a port too high":      {Options{Addresses: []string{"a:99999"}}, `"a:99999" is neither`},
		"a port in words":      {Options{Addresses: []string{"a:redis"}}, "is neither host:port"},
		"no port after all":    {Options{Addresses: []string{"a:"}}, "is neither host:port"},
		"IPv6 without []":      {Options{Addresses: []string{"::1:6379"}}, "is neither host:port"},
		"several without word": {Options{Addresses: []string{"a:1", "b:1"}}, "`cluster` or `sentinel <master>`"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(tc.options)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v, want an error with %q", err, tc.want)
			}
		})
	}
}

// TestKindsOfServers proves that the same calls work with each kind of server, connected as an operator would.
func TestKindsOfServers(t *testing.T) {
	t.Parallel()
	t.Run("one", func(t *testing.T) { exchange(t, connect(t, testenv.Redis(t).Addr)) })
	t.Run("unix socket", func(t *testing.T) { exchange(t, connect(t, testenv.RedisUnix(t).Addr)) })
	t.Run("cluster", func(t *testing.T) {
		cluster := testenv.RedisCluster(t)
		c := open(t, Options{Addresses: cluster.Addrs[:1], Cluster: true})
		awaitUp(t, c, true)
		exchange(t, c)
		other := open(t, Options{Addresses: cluster.Addrs[3:4], Cluster: true})
		awaitUp(t, other, true)
		agree(t, map[string]string{"x": `1 "said"`}, follow(t, c, entry("x", 1, "said")), follow(t, other))
		sharesLists(t, c)
	})
	t.Run("sentinel", func(t *testing.T) {
		s := testenv.RedisSentinel(t)
		c := open(t, Options{Addresses: s.Addrs, Master: s.Master})
		awaitUp(t, c, true)
		exchange(t, c)
		s.KillMaster()
		eventually(t, "after a failover it works again", func() bool {
			_, err := c.Count(t.Context(), ledger.Count{Account: "failover", N: 1, Windows: []ledger.WindowCount{today(1000)}})
			return err == nil
		})
		exchange(t, c)
	})
	t.Run("tls, acl, database and prefix", func(t *testing.T) {
		server, files := testenv.RedisTLS(t)
		server.ACL("caddy", "s3cret", "+@read", "+@write", "+@scripting", "+@connection", "+@pubsub", "+time", "~ours:*", "&ours:*", "-@dangerous")
		c := open(t, Options{
			Addresses: []string{server.Addr}, TLS: tlsConfig(t, files), Database: 3, Prefix: "ours",
			Credentials: func() (string, string, error) { return "caddy", "s3cret", nil },
		})
		awaitUp(t, c, true)
		exchange(t, c)
		sharesLists(t, c)
		if n := server.CLI("-n", "3", "DBSIZE"); n == "0" {
			t.Error("nothing is in database 3")
		}
		for key := range strings.FieldsSeq(server.CLI("-n", "3", "KEYS", "*")) {
			if !strings.HasPrefix(key, "ours:v1:") {
				t.Errorf("key %s has another prefix", key)
			}
		}
	})
}

func tlsConfig(tb testing.TB, files testenv.Certificates) *tls.Config {
	tb.Helper()
	pair, err := tls.LoadX509KeyPair(files.ClientCert, files.ClientKey)
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// TestAPasswordRotates proves that a changed password is used for the next connection, and that a wrong one is named as what
// it is.
func TestAPasswordRotates(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	server.ACL("caddy", "old", "+@all", "~*", "&*")
	var mu sync.Mutex
	password := "old"
	set := func(to string) {
		mu.Lock()
		defer mu.Unlock()
		password = to
	}
	var log logtest.Log
	c := open(t, Options{
		Addresses: []string{server.Addr},
		Logger:    slog.New(slog.NewTextHandler(&log, nil)),
		Credentials: func() (string, string, error) {
			mu.Lock()
			defer mu.Unlock()
			if password == "" {
				return "", "", errors.New("the file is gone")
			}
			return "caddy", password, nil
		},
	})
	awaitUp(t, c, true)
	server.CLI("ACL", "SETUSER", "caddy", "resetpass", ">new")
	server.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	eventually(t, "the old password is refused", func() bool { return c.Status().Result == Denied.String() })
	if s := c.Status(); !strings.Contains(s.Cure, "password") {
		t.Errorf("the cure is %q", s.Cure)
	}
	set("")
	eventually(t, "a password that cannot be read is named", func() bool { return strings.Contains(c.Status().Error, "the file is gone") })
	set("new")
	awaitUp(t, c, true)
	exchange(t, c)
	if strings.Contains(log.String(), "old") || strings.Contains(log.String(), "new") {
		t.Errorf("the log shows a password:\n%s", log.String())
	}
}

// TestAHandshakeIsFinished proves that a server at a distance is reached: connecting takes several round trips, and no
// call has time for all of them.
func TestAHandshakeIsFinished(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	link := testenv.Proxy(t, server.Addr)
	link.Latency(20 * time.Millisecond)
	c := open(t, Options{Addresses: []string{link.Addr}, Timeout: 60 * time.Millisecond})
	awaitUp(t, c, true)
	answered := 0
	for range 20 {
		if _, err := c.Count(t.Context(), ledger.Count{Account: "a", N: 1, Windows: []ledger.WindowCount{today(1000)}}); err == nil {
			answered++
		}
	}
	if answered < 10 {
		t.Errorf("%d of 20 calls were answered: the connection is thrown away before it is of use", answered)
	}
}

// TestAway proves that a client of a server that is not there costs nothing, comes back by itself and says so once.
func TestAway(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	server.Stop()
	var log logtest.Log
	var seen outcomes
	c := open(t, Options{
		Addresses: []string{server.Addr}, Observe: seen.observe, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if _, err := c.Count(t.Context(), ledger.Count{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	eventually(t, "it is known to be unreachable", func() bool { return c.Status().Result == Unreachable.String() })
	server.Start()
	awaitUp(t, c, true)
	exchange(t, c)
	server.Stop()
	for range maxFailures {
		_, _ = c.Count(t.Context(), ledger.Count{})
	}
	awaitUp(t, c, false)
	skipped := seen.of(Skipped)
	if _, err := c.Count(t.Context(), ledger.Count{}); !errors.Is(err, ErrUnavailable) || seen.of(Skipped) != skipped+1 {
		t.Errorf("%v, want ErrUnavailable, counted as skipped", err)
	}
	if n := strings.Count(log.String(), "redis is away"); n != 1 {
		t.Errorf("it is said %d times that redis is away:\n%s", n, log.String())
	}
}

// TestFaultsAreTold proves that each way in which Redis fails is told from the others, and is recovered from.
func TestFaultsAreTold(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reply string
		want  Result
	}{
		"read only":   {"-READONLY You can't write against a read only replica.", ReadOnly},
		"read only 6": {"-ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write.", ReadOnly},
		"full":        {"-OOM command not allowed when used memory > 'maxmemory'.", Full},
		"permissions": {"-NOPERM this user has no permissions to run the 'evalsha' command", Denied},
		"in a script": {"-ERR ACL failure in script: User caddy has no permissions to access the key", Denied},
		"loading":     {"-LOADING Redis is loading the dataset in memory", Failed},
		"password":    {"-NOAUTH Authentication required.", Denied},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, Options{Addresses: []string{testenv.RedisReplying(t, tc.reply)}})
			eventually(t, "it is told as "+tc.want.String(), func() bool { return c.Status().Result == tc.want.String() })
			if s := c.Status(); s.Up || s.Cure == "" {
				t.Errorf("status %+v", s)
			}
		})
	}
	t.Run("a failure among successes", func(t *testing.T) {
		server := testenv.Redis(t)
		c := connect(t, server.Addr)
		server.CLI("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
		_, _ = c.Count(t.Context(), ledger.Count{Account: "a", N: 1, Windows: []ledger.WindowCount{today(1000)}})
		for range 3 { // what only reads goes well, and hides nothing
			if _, err := c.load(t.Context(), key4, []string{"abuseipdb"}); err != nil && !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		}
		awaitUp(t, c, false)
		if s := c.Status(); s.Result != Full.String() {
			t.Errorf("status %+v", s)
		}
	})
	t.Run("full and then not", func(t *testing.T) {
		server := testenv.Redis(t)
		c := connect(t, server.Addr)
		server.CLI("CONFIG", "SET", "maxmemory", "1mb", "maxmemory-policy", "noeviction")
		eventually(t, "it is told that the server is full", func() bool {
			_, _ = c.Count(t.Context(), ledger.Count{Account: "a", N: 1, Windows: []ledger.WindowCount{today(1000)}})
			return c.Status().Result == Full.String()
		})
		server.CLI("CONFIG", "SET", "maxmemory", "0")
		awaitUp(t, c, true)
		exchange(t, c)
	})
	t.Run("a user without scripts", func(t *testing.T) {
		server := testenv.Redis(t)
		server.ACL("caddy", "s3cret", "+@all", "-eval", "-evalsha", "~*", "&*")
		c := open(t, Options{Addresses: []string{server.Addr}, Credentials: func() (string, string, error) { return "caddy", "s3cret", nil }})
		eventually(t, "it is told", func() bool { return c.Status().Result == Denied.String() })
		server.CLI("ACL", "SETUSER", "caddy", "+eval", "+evalsha")
		awaitUp(t, c, true)
	})
	t.Run("a user without our keys", func(t *testing.T) {
		server := testenv.Redis(t)
		server.ACL("caddy", "s3cret", "+@all", "~other:*", "&*")
		c := open(t, Options{Addresses: []string{server.Addr}, Credentials: func() (string, string, error) { return "caddy", "s3cret", nil }})
		eventually(t, "it is told", func() bool { return c.Status().Result == Denied.String() })
	})
}

// TestTheCureFits proves that what an operator is told to do is about what is wrong.
func TestTheCureFits(t *testing.T) {
	t.Parallel()
	plain := testenv.Redis(t)
	secured, files := testenv.RedisTLS(t)
	cluster := testenv.RedisCluster(t)
	for name, tc := range map[string]struct {
		options Options
		want    string
	}{
		"TLS to a plain port":    {Options{Addresses: []string{plain.Addr}, TLS: tlsConfig(t, files)}, "tls"},
		"plain to a TLS port":    {Options{Addresses: []string{secured.Addr}}, "`tls`"},
		"authority not known":    {Options{Addresses: []string{secured.Addr}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "`ca`"},
		"part of a cluster":      {Options{Addresses: cluster.Addrs[:1]}, "`cluster`"},
		"no such database":       {Options{Addresses: []string{plain.Addr}, Database: 99}, "`database`"},
		"a server as a Sentinel": {Options{Addresses: []string{plain.Addr}, Master: "main"}, "`sentinel"},
		"no password to be had": {Options{
			Addresses: []string{plain.Addr}, Credentials: func() (string, string, error) { return "", "", errors.New("gone") },
		}, "password can be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, tc.options)
			eventually(t, "the cure is "+tc.want, func() bool { return strings.Contains(c.Status().Cure, tc.want) })
		})
	}
}

// TestLinks proves that whatever the link does, a call ends within its time, and that all is well once the link is.
func TestLinks(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	for name, fault := range map[string]func(*testenv.Link){
		"black hole":  (*testenv.Link).BlackHole,
		"reset":       (*testenv.Link).Reset,
		"down":        (*testenv.Link).Down,
		"slow drip":   func(l *testenv.Link) { l.Drip(3) },
		"500 ms late": func(l *testenv.Link) { l.Latency(500 * time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			link := testenv.Proxy(t, server.Addr)
			c := connect(t, link.Addr)
			exchange(t, c)
			fault(link)
			eventually(t, "it is known to be away", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				_, err := c.Count(ctx, ledger.Count{Account: "a", N: 1, Windows: []ledger.WindowCount{today(1000)}})
				if ctx.Err() != nil {
					t.Fatal("a call did not end by itself")
				}
				return errors.Is(err, ErrUnavailable)
			})
			link.Heal()
			awaitUp(t, c, true)
			exchange(t, c)
		})
	}
}

// TestNobodyIsCalledBeforeTheStart proves that making a client, as for a configuration that is only looked at, calls nobody.
func TestNobodyIsCalledBeforeTheStart(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	connections := func() int {
		t.Helper()
		_, rest, _ := strings.Cut(server.CLI("INFO", "stats"), "total_connections_received:")
		n, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// the command that counts makes some itself
	first, second := connections(), connections()
	for _, o := range []Options{{}, {Cluster: true}, {Master: "main"}} {
		o.Addresses, o.Logger = []string{server.Addr}, slog.New(slog.DiscardHandler)
		c, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // the library would have dialled by now
		if _, err := c.Count(t.Context(), ledger.Count{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if third := connections(); third-second != second-first {
		t.Errorf("connections so far: %d, %d, and then %d", first, second, third)
	}
}

// TestClosing proves that closing ends what is under way, whenever it comes.
func TestClosing(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	for range 20 {
		c, err := Open(Options{Addresses: []string{server.Addr}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		c.Start()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		c.Start()
		if _, err := c.Count(t.Context(), ledger.Count{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	}
}

// exchange makes one call of each kind and looks whether it did what it is for.
func exchange(tb testing.TB, c *Client) {
	tb.Helper()
	ctx := tb.Context()
	account := time.Now().Format("150405.000000000")
	for n := range 4 {
		counted, err := c.Count(ctx, ledger.Count{Account: account, N: 1, Windows: []ledger.WindowCount{today(3)}})
		if err != nil || counted.Granted != (n < 3) {
			tb.Errorf("call %d: %+v, %v", n, counted, err)
		}
		allowed, _, err := c.TakeTokens(ctx, one(account, 3, time.Hour))
		if err != nil || allowed != (n < 3) {
			tb.Errorf("token %d: %v, %v", n, allowed, err)
		}
	}
	keepsRecords(tb, c)
}

// today is a window of a quota.
func today(limit int) ledger.WindowCount {
	start := time.Now().UTC().Truncate(24 * time.Hour)
	return ledger.WindowCount{Period: "day", Start: start, End: start.Add(24 * time.Hour), Limit: limit}
}

// TestForeignText: a server, or what stands in its place, answers what it likes. It does not reach the log or the status
// as it is.
func TestForeignText(t *testing.T) {
	t.Parallel()
	reply := "-ERR " + testenv.Foreign + strings.Repeat(" x", 5_000)
	log := new(logtest.Log)
	c := open(t, Options{Addresses: []string{testenv.RedisReplying(t, reply)}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	eventually(t, "it is told", func() bool { return c.Status().Error != "" })
	testenv.WantLine(t, c.Status().Error)
	eventually(t, "it is logged", func() bool { return len(log.Lines("redis is away")) > 0 })
	testenv.WantLine(t, logtest.Value(log.Lines("redis is away")[0], "error"))
}

// TestForeignCertificate is TestForeignText for the names in a certificate.
func TestForeignCertificate(t *testing.T) {
	t.Parallel()
	_, address, _ := strings.Cut(testenv.ForeignCertificate(t), "://")
	c := open(t, Options{Addresses: []string{address}, TLS: &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}})
	eventually(t, "it is told", func() bool { return strings.Contains(c.Status().Error, "certificate") })
	testenv.WantLine(t, c.Status().Error)
}
