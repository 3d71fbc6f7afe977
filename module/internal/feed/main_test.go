package feed

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// results records what Observe is told.
type results struct {
	mu  sync.Mutex
	all map[string][]Result
}

func (r *results) observe(name string, result Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[string][]Result)
	}
	r.all[name] = append(r.all[name], result)
}

func (r *results) of(name string) []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all[name])
}

func (r *results) last(t *testing.T, name string) Result {
	t.Helper()
	all := r.of(name)
	if len(all) == 0 {
		t.Fatalf("no attempt to refresh %s was observed", name)
	}
	return all[len(all)-1]
}

func mustOpen(t testing.TB, o Options, specs ...Spec) *Set {
	t.Helper()
	s, err := Open(specs, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fetchNow refreshes one list of a Set that was not started, without regard to schedules.
func fetchNow(s *Set, name string) error {
	for _, l := range s.lists {
		if l.spec.Name == name {
			_, err := l.refresh(context.Background(), (*list).always)
			s.rebuild()
			return err
		}
	}
	panic("no list " + name)
}

// listing returns the names of the lists that hold addr.
func listing(s *Snapshot, addr string) []string {
	names := []string{}
	for _, i := range s.Index.Members(s.Index.Lookup(netip.MustParseAddr(addr))) {
		names = append(names, s.Lists[i].Name)
	}
	return names
}

func isListed(s *Snapshot, addr, name string) bool { return slices.Contains(listing(s, addr), name) }

func statusOf(t *testing.T, s *Set, name string) Status {
	t.Helper()
	for _, status := range s.Status() {
		if status.Name == name {
			return status
		}
	}
	t.Fatalf("no status of %s", name)
	return Status{}
}

// script is a server's answers, one after the other; the last one is repeated.
type script struct {
	mu       sync.Mutex
	answers  []http.HandlerFunc
	requests []*http.Request
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	answer := s.answers[min(len(s.requests), len(s.answers))-1]
	s.mu.Unlock()
	answer(w, r)
}

func (s *script) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func serve(t testing.TB, answers ...http.HandlerFunc) (*script, string) {
	t.Helper()
	s := &script{answers: answers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// addresses returns n lines, 198.51.100.0 and on.
func addresses(n int) string {
	var b strings.Builder
	a := netip.MustParseAddr("198.51.100.0")
	for range n {
		b.WriteString(a.String() + "\n")
		a = a.Next()
	}
	return b.String()
}

func write(t testing.TB, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
