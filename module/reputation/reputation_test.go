package reputation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestIsReserved(t *testing.T) {
	for addr, want := range map[string]bool{
		"10.0.0.1": true, "100.63.255.255": false, "100.64.0.0": true, "100.127.255.255": true, "100.128.0.0": false,
		"127.0.0.1": true, "169.254.0.1": true, "172.15.255.255": false, "172.16.0.0": true, "172.31.255.255": true,
		"172.32.0.0": false, "192.0.0.1": true, "192.0.1.1": false, "192.168.1.1": true, "198.18.0.1": true,
		"198.20.0.1": false, "223.255.255.255": false, "224.0.0.1": true, "255.255.255.255": true, "0.0.0.0": true,
		"192.0.2.1": false, "198.51.100.1": false, "203.0.113.1": false, "2001:db8::1": false, // documentation
		"::": true, "::1": true, "fe80::1": true, "fd00::1": true, "ff02::1": true, "64:ff9b::1": true, "2600::1": false,
	} {
		if got := reputation.IsReserved(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %t", addr, got)
		}
	}
	if !reputation.IsReserved(netip.Addr{}) {
		t.Error("no address at all is not reserved")
	}
}

// The switch in IsReserved is the fast twin of the list.
func TestIsReservedAgreesWithList(t *testing.T) {
	prefixes := reputation.ReservedPrefixes()
	listed := func(addr netip.Addr) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	check := func(t interface{ Errorf(string, ...any) }, addr netip.Addr) {
		if got := reputation.IsReserved(addr); got != listed(addr) {
			t.Errorf("%s: got %t, the list says %t", addr, got, listed(addr))
		}
	}
	for _, p := range prefixes {
		check(t, p.Addr())
		if before := p.Addr().Prev(); before.IsValid() {
			check(t, before)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var b4 [4]byte
		var b16 [16]byte
		copy(b4[:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4"))
		copy(b16[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6"))
		check(t, netip.AddrFrom4(b4))
		if addr := netip.AddrFrom16(b16); !addr.Is4In6() {
			check(t, addr)
		}
	})
}

func TestResultOf(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want reputation.Result
	}{
		{nil, reputation.ResultOK},
		{reputation.ErrUnknown, reputation.ResultNotFound},
		{reputation.ErrUnsupported, reputation.ResultNotFound},
		{context.DeadlineExceeded, reputation.ResultTimeout},
		{os.ErrDeadlineExceeded, reputation.ResultTimeout},
		{&net.DNSError{IsTimeout: true}, reputation.ResultTimeout},
		{&reputation.ThrottledError{RetryAfter: time.Hour}, reputation.ResultThrottled},
		{reputation.ErrRefused, reputation.ResultRefused},
		{reputation.ErrBadAnswer, reputation.ResultBadAnswer},
		{reputation.ErrDuplicate, reputation.ResultOK}, // of a Reporter: the service is at work, and accepts the key
		{reputation.ErrRejected, reputation.ResultOK},
		{errors.New("connection refused"), reputation.ResultError},
		{context.Canceled, reputation.ResultError},
		{&reputation.SkippedError{Result: reputation.ResultSkippedQuota}, reputation.ResultSkippedQuota},
		{&reputation.SkippedError{Result: reputation.ResultSkippedBreaker}, reputation.ResultSkippedBreaker},
		{&reputation.SkippedError{}, reputation.ResultSkippedBreaker}, // the zero Result would be an answer
		{&reputation.SkippedError{Result: reputation.ResultNotFound}, reputation.ResultSkippedBreaker},
		{&reputation.SkippedError{Result: reputation.NumResults}, reputation.ResultSkippedBreaker},
	} {
		for _, err := range []error{tc.err, fmt.Errorf("asking: %w", tc.err)} {
			if tc.err == nil {
				err = nil
			}
			if got := reputation.ResultOf(err); got != tc.want {
				t.Errorf("%v: got %s; want %s", err, got, tc.want)
			}
		}
	}
	for r := range reputation.Result(reputation.NumResults) {
		if want := r == reputation.ResultOK || r == reputation.ResultNotFound; r.Answered() != want {
			t.Errorf("%s: answered is %t", r, !want)
		}
	}
}

func TestWordsRoundTrip(t *testing.T) {
	for c := range reputation.Category(19) {
		if got, err := reputation.ParseCategory(c.String()); err != nil || got != c {
			t.Errorf("category %s: got %s, %v", c, got, err)
		}
	}
	for s := range reputation.Status(reputation.NumStatuses) {
		if got, err := reputation.ParseStatus(s.String()); err != nil || got != s {
			t.Errorf("status %s: got %s, %v", s, got, err)
		}
	}
	for a := range reputation.Action(reputation.NumActions) {
		if got, err := reputation.ParseAction(a.String()); err != nil || got != a {
			t.Errorf("action %s: got %s, %v", a, got, err)
		}
	}
	for k := range reputation.Kind(5) {
		if got, err := reputation.ParseKind(k.String()); err != nil || got != k {
			t.Errorf("nature %s: got %s, %v", k, got, err)
		}
	}
	if _, err := reputation.ParseCategory("evil"); err == nil {
		t.Error("an unknown word was accepted")
	}
}

func TestSets(t *testing.T) {
	set := reputation.CategoriesOf(reputation.Tor, reputation.Scanner, reputation.Policy)
	if got := set.String(); got != "scanner, tor, policy" {
		t.Errorf("got %q", got)
	}
	if got, _ := json.Marshal(set); string(got) != `["scanner","tor","policy"]` {
		t.Errorf("got %s", got)
	}
	if got, _ := json.Marshal(reputation.Categories(0)); string(got) != `[]` {
		t.Errorf("got %s", got)
	}
	nature := reputation.Nature{}.With(reputation.NatureTor, false).With(reputation.NatureVPN, true).With(reputation.NatureMobile, true)
	if got := nature.String(); got != "vpn, mobile" {
		t.Errorf("got %q", got)
	}
	if got, _ := json.Marshal(nature); string(got) != `{"tor":false,"vpn":true,"mobile":true}` {
		t.Errorf("got %s", got)
	}
}

// TestJSONIsReadBack proves that what one instance writes another reads, and that words of a later version are no error.
func TestJSONIsReadBack(t *testing.T) {
	type both struct {
		Categories reputation.Categories
		Nature     reputation.Nature
	}
	want := both{
		reputation.CategoriesOf(reputation.Tor, reputation.Policy),
		reputation.Nature{}.With(reputation.NatureTor, true).With(reputation.NatureVPN, false),
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{
		string(text),
		`{"Categories":["policy","quantum_attack","tor"],"Nature":{"tor":true,"satellite":true,"vpn":false}}`,
	} {
		got := both{Categories: 1, Nature: reputation.Nature{}.With(reputation.NatureMobile, true)}
		if err := json.Unmarshal([]byte(in), &got); err != nil || got != want {
			t.Errorf("%s is read as %v, %v", in, got, err)
		}
	}
	for _, in := range []string{`{"Categories":"tor"}`, `{"Categories":[1]}`, `{"Nature":["tor"]}`, `{"Nature":{"tor":1}}`} {
		if err := json.Unmarshal([]byte(in), new(both)); err == nil {
			t.Errorf("%s was accepted", in)
		}
	}
}

// TestReasonSize holds that a reason has no gaps: a request allocates one for each source.
func TestReasonSize(t *testing.T) {
	if size := unsafe.Sizeof(reputation.Reason{}); size > 48 && strconv.IntSize == 64 {
		t.Errorf("a reason takes %d bytes; want at most 48", size)
	}
}

func TestNatureMergeAndUpdate(t *testing.T) {
	yes := reputation.Nature{}.With(reputation.NatureTor, true)
	no := reputation.Nature{}.With(reputation.NatureTor, false)
	for _, merged := range []reputation.Nature{yes.Merge(no), no.Merge(yes), reputation.Nature{}.Merge(yes)} {
		if is, known := merged.Is(reputation.NatureTor); !is || !known {
			t.Errorf("merging lost a yes: %v", merged)
		}
	}
	if is, known := yes.Update(no).Is(reputation.NatureTor); is || !known {
		t.Error("newer knowledge did not replace older")
	}
	if is, known := yes.Update(reputation.Nature{}).Is(reputation.NatureTor); !is || !known {
		t.Error("not knowing replaced knowledge")
	}
}

func TestSubject(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64"} {
		if got := reputation.Subject(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: got %s; want %s", addr, got, want)
		}
	}
	if reputation.Subject(netip.Addr{}).IsValid() {
		t.Error("no address has a subject")
	}
}

// TestASecretShowsItselfNowhere proves promise 10 where it begins.
func TestASecretShowsItselfNowhere(t *testing.T) {
	s := reputation.Secret{Value: "s3cret"}
	hides(t, s, &s, "s3cret", "[secret]")
}

// TestAQueryShowsItselfNowhere: neither the key nor the visitor's address.
func TestAQueryShowsItselfNowhere(t *testing.T) {
	q := reputation.Query{Addr: netip.MustParseAddr("203.0.113.10"), Key: "s3cret"}
	hides(t, q, &q, "s3cret", "[query]")
	hides(t, q, &q, "203.0.113.10", "[query]")
}

// TestAnIncidentShowsItselfNowhere: whom it accuses is for the service alone.
func TestAnIncidentShowsItselfNowhere(t *testing.T) {
	i := reputation.Incident{Addr: netip.MustParseAddr("203.0.113.10"), Comment: "14 requests"}
	hides(t, i, &i, "203.0.113.10", "[incident]")
	hides(t, i, &i, "14 requests", "[incident]")
}

// hides checks that a value is shown as a word, and never as what it holds.
func hides(t *testing.T, s, pointer any, held, word string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"key": s, "keys": []any{s}})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("said", "key", s, "pointer", pointer)
	for where, shown := range map[string]string{
		"%v": fmt.Sprintf("%v %+v %#v %s %q %v", s, s, s, s, s, pointer), "%d": fmt.Sprintf("%d %x %v", s, s, pointer), "JSON": string(text), "log": log.String(),
	} {
		if strings.Contains(shown, held) || !strings.Contains(shown, word) {
			t.Errorf("%s shows %s", where, shown)
		}
	}
}
