package crowdsec

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixedKey is a key that changes when set is called.
type fixedKey struct {
	mu      sync.Mutex
	value   string
	changed chan struct{}
}

func newKey(value string) *fixedKey { return &fixedKey{value: value, changed: make(chan struct{})} }

func (k *fixedKey) Await(context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.value, nil
}

func (k *fixedKey) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

func (k *fixedKey) set(value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value = value
	close(k.changed)
	k.changed = make(chan struct{})
}

// fakeAPI answers in the place of the network.
type fakeAPI struct {
	mu     sync.Mutex
	asked  []string // the queries, in order
	posted []string // bodies
	answer func(r *http.Request) (status int, body io.Reader, err error)
}

func (a *fakeAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Method == http.MethodPost {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		a.posted = append(a.posted, string(text))
	} else {
		a.asked = append(a.asked, r.URL.Query().Get("startup"))
	}
	status, body, err := a.answer(r)
	if err != nil {
		return nil, err
	}
	if body == nil {
		body = strings.NewReader("")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(body), Request: r}, nil
}

// then sets how questions are answered from now on.
func (a *fakeAPI) then(answer func(*http.Request) (int, io.Reader, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// take returns what was asked since the last call.
func (a *fakeAPI) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

// text answers every question with a text.
func text(status int, format string, args ...any) func(*http.Request) (int, io.Reader, error) {
	return func(*http.Request) (int, io.Reader, error) {
		return status, strings.NewReader(fmt.Sprintf(format, args...)), nil
	}
}

// banned is an answer with bans of 203.0.113.0 and the following addresses, for an hour.
func banned(from, to int) func(*http.Request) (int, io.Reader, error) {
	var list []string
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf(
			`{"id":%d,"origin":"crowdsec","scenario":"crowdsecurity/ssh-bf","scope":"Ip","type":"ban","value":"203.0.113.%d","duration":"1h"}`, i, i))
	}
	return text(200, `{"new":[%s],"deleted":null}`, strings.Join(list, ","))
}

// bench is a client with a list to which it pushes.
type bench struct {
	*Client
	t   testing.TB
	api *fakeAPI
	set *feed.Set
}

func newBench(t testing.TB, change func(*Config, *feed.Spec)) *bench {
	t.Helper()
	c := Config{Name: "crowdsec", URL: "http://192.0.2.1:8080", Key: newKey("secret"), Version: "v1", Logger: slog.New(slog.DiscardHandler)}
	spec := feed.Spec{Name: "crowdsec", Pushed: "192.0.2.1:8080", Parts: NumParts}
	if change != nil {
		change(&c, &spec)
	}
	set, err := feed.Open([]feed.Spec{spec}, feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := New(c, set)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Client: client, t: t, api: new(fakeAPI), set: set}
	client.http.Transport = b.api
	return b
}

// run starts the client; it ends with the test.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(b.t.Context())
	var running sync.WaitGroup
	b.set.Start()
	running.Go(func() { b.Run(ctx) })
	b.t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := b.set.Close(); err != nil {
			b.t.Error(err)
		}
	})
}

// meanings returns what the list says of an address, without origins.
func (b *bench) meanings(addr string) (all []string) {
	now := b.set.Current()
	members := slices.Clone(now.Index.Members(now.Index.Lookup(netip.MustParseAddr(addr))))
	for _, member := range members {
		_, part := now.ListOf(int(member))
		m := MeaningOf(part)
		all = append(all, m.Origin+" "+m.Remediation.String()+" "+m.Category.String())
	}
	return all
}

func (b *bench) check(addr string, want ...string) {
	b.t.Helper()
	if got := b.meanings(addr); !slices.Equal(got, want) {
		b.t.Errorf("%s: %v, want %v", addr, got, want)
	}
}

func (b *bench) status() feed.Status { return b.set.Status()[0] }
