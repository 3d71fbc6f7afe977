package providertest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Batch describes the answers of a reputation.Batcher's service to a question about several addresses. The suite
// composes answers of its entries: as they are, in another order, doubled, left out, of other types.
type Batch struct {
	// Before and After are what an answer has before and after its entries, which have commas between them. Default: "["
	// and "]".
	Before, After string

	// Entries are the parts of the answer, each about one address. At least two must have ResultOK, and different reports.
	Entries []Entry

	// Request, if set, checks the request about the addresses of all entries. It runs on the server's goroutine.
	Request func(r *http.Request) error

	// Cases are other answers to that question, such as an error with status 200. Their Result is that of the whole
	// request, so it is not ResultOK. Addr is not used.
	Cases []Case
}

// Entry is the part of an answer that is about one address, and its meaning.
type Entry struct {
	// Addr is the address that is asked about.
	Addr netip.Addr

	// Body is the entry in JSON. A member of an object has its name before it, which is the address:
	// `"203.0.113.10": {…}`. It is empty if Before or After say something of the address, such as that nothing is known.
	Body string

	// Result is the expected result, by reputation.ResultOf. The zero value is ResultOK.
	Result reputation.Result

	// Report is the expected report if Result is ResultOK.
	Report reputation.Report
}

// batchChecks are about CheckAll.
func (s *suite) batchChecks() ([]check, error) {
	if s.Batch == nil {
		return nil, nil
	}
	b := *s.Batch
	b.Cases = slices.Clone(b.Cases)
	s.Batch = &b // the caller's stays as it is
	if b.Before == "" {
		b.Before, b.After = "[", "]"
	}
	var found []Entry
	for _, e := range b.Entries {
		if e.Result == reputation.ResultOK && e.Body != "" {
			found = append(found, e)
		}
	}
	if len(found) < 2 || compare(found[0].Report, found[1].Report) == nil {
		return nil, errors.New("Config.Batch needs two entries with ResultOK and different reports")
	}
	list := []check{{"batch/profile", s.batchProfile}, {"batch/all", s.batchAll}}
	list = append(list, s.entryChecks(found[0], found[1])...)
	for i := range b.Cases {
		c := &b.Cases[i]
		if err := c.complete(); err != nil {
			return nil, fmt.Errorf("preparing case %q: %w", c.Name, err)
		}
		list = append(list, s.wholeCheck(c.Name, c.ServeHTTP, c.judge))
	}
	return append(list, s.batchFaults()...), nil
}

func (s *suite) batchProfile(tb testing.TB) error {
	p := s.New(tb, "http://127.0.0.1:1")
	if _, ok := p.(reputation.Batcher); !ok {
		return fmt.Errorf("the provider is a %T, which has no CheckAll", p)
	}
	if n := p.Profile().Batch; n < len(s.Batch.Entries) {
		return fmt.Errorf("Profile.Batch is %d, and Config.Batch has %d entries", n, len(s.Batch.Entries))
	}
	return nil
}

// batchAll asks about all entries.
func (s *suite) batchAll(tb testing.TB) error {
	var request error
	t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
		if s.Batch.Request != nil {
			request = s.Batch.Request(r)
		}
		s.entries(s.Batch.Entries)(w, r)
	})
	o, err := t.askAll(tb.Context(), addressesOf(s.Batch.Entries), t.key)
	return errors.Join(err, o.answersTo(s.Batch.Entries), t.wantRequests(1), request, s.keyIsSent(t))
}

// keyIsSent returns an error if the request does not have the key.
func (s *suite) keyIsSent(t *fixture) error {
	requests := strings.Join(t.requests(), "\n")
	basic := base64.StdEncoding.EncodeToString([]byte(s.testKey()))
	if !s.NoKey && !strings.Contains(requests, testKey) && !strings.Contains(requests, basic) {
		return errors.New("the request does not have the key")
	}
	return nil
}

// entries sends an answer of some entries.
func (s *suite) entries(entries []Entry) http.HandlerFunc {
	var bodies []string
	for _, e := range entries {
		if e.Body != "" {
			bodies = append(bodies, e.Body)
		}
	}
	body := s.Batch.Before + strings.Join(bodies, ",") + s.Batch.After
	return reply(http.StatusOK, s.sample.Header.Get("Content-Type"), body)
}

// entryChecks are about answers whose entries are not those that were asked for. Each address has its own answer or
// none: an entry that is missing or wrong is an error of its address, and of no other.
func (s *suite) entryChecks(one, two Entry) []check {
	bad := func(e Entry) Entry { return Entry{Addr: e.Addr, Result: reputation.ResultBadAnswer} }
	body := func(e Entry, body string) Entry {
		return Entry{Addr: e.Addr, Body: body, Result: reputation.ResultBadAnswer}
	}
	about := func(e Entry, addr netip.Addr) Entry {
		e.Body, e.Addr = strings.ReplaceAll(e.Body, e.Addr.String(), addr.String()), addr
		return e
	}
	foreign := netip.MustParseAddr("198.51.100.250")
	list := []check{
		s.answered("another order", []Entry{two, one}, one, two),
		s.answered("swapped", []Entry{about(one, two.Addr), about(two, one.Addr)},
			about(two, one.Addr), about(one, two.Addr)),
		s.answered("one is missing", []Entry{two}, bad(one), two),
		s.answered("the other is missing", []Entry{one}, one, bad(two)),
		s.answered("none", nil, bad(one), bad(two)),
		s.answered("twice and different", []Entry{one, two, about(two, one.Addr)}, bad(one), two),
		s.answered("about somebody else besides", []Entry{about(two, foreign), one, two}, one, two),
		s.answered("about somebody else", []Entry{about(one, foreign), two}, bad(one), two),
	}
	for name, value := range map[string]string{
		"number": "7", "text": `"clean"`, "list": "[]", "null": "null", "object": "{}", "true": "true",
	} {
		wrong := body(one, memberName(one.Body)+value)
		list = append(list, s.answered("one is a "+name, []Entry{wrong, two}, bad(one), two))
	}
	return list
}

// memberName returns the name of a member and its colon, or "" for an entry that is none.
func memberName(body string) string {
	d := json.NewDecoder(strings.NewReader(body))
	if name, err := d.Token(); err == nil {
		if _, text := name.(string); text {
			return body[:d.InputOffset()] + ":"
		}
	}
	return ""
}

// answered returns a check that asks about the addresses of want, and gets an answer of the sent entries.
func (s *suite) answered(name string, sent []Entry, want ...Entry) check {
	return check{"batch/" + name, func(tb testing.TB) error {
		t := s.fixture(tb, s.entries(sent))
		o, err := t.askAll(tb.Context(), addressesOf(want), t.key)
		return errors.Join(err, o.answersTo(want), t.wantRequests(1))
	}}
}

// wholeCheck returns a check in which the request as a whole fails.
func (s *suite) wholeCheck(name string, answer http.HandlerFunc, judge func(outcome) error) check {
	return check{"batch/" + name, func(tb testing.TB) error {
		t := s.fixture(tb, answer)
		o, err := t.askAll(tb.Context(), addressesOf(s.Batch.Entries), t.key)
		return errors.Join(err, o.noAnswers(), judge(o), t.wantRequests(1))
	}}
}

// batchFaults are requests that go wrong, whatever the service.
func (s *suite) batchFaults() []check {
	want := func(results ...reputation.Result) func(outcome) error {
		return func(o outcome) error { return o.want(results...) }
	}
	const jsonType, page = "application/json", "<!DOCTYPE html><p>Sign in to the network"
	bad, failed := reputation.ResultBadAnswer, reputation.ResultError
	list := []check{
		s.wholeCheck("an empty answer", reply(200, jsonType, ""), want(bad)),
		s.wholeCheck("a page", reply(200, "text/html", page), want(bad)),
		s.wholeCheck("a page that says it is JSON", reply(200, jsonType, page), want(bad)),
		s.wholeCheck("deep", reply(200, jsonType, strings.Repeat("[", 30_000)), want(bad)),
		s.wholeCheck("500", reply(500, jsonType, `{}`), want(failed)),
		s.wholeCheck("401", reply(401, jsonType, `{}`), want(reputation.ResultRefused)),
		s.wholeCheck("404", reply(404, "text/html", page), want(bad, failed)),
		s.wholeCheck("429", reply(429, jsonType, `{}`), want(reputation.ResultThrottled)),
		s.wholeCheck("a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, want(bad)),
		s.wholeCheck("a broken connection", func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, want(failed)),
		s.wholeCheck("32 MiB", s.flooded, want(bad)),
		{"batch/a million entries", s.manyEntries}, {"batch/deep members", s.deepMembers},
		{"batch/truncated anywhere", s.batchTruncated},
		{"batch/hanging", s.batchHanging},
		{"batch/echo", s.batchEcho},
	}
	return append(list, s.unsentBatches()...)
}

// unsentBatches are calls for which no request may be made.
func (s *suite) unsentBatches() []check {
	unsent := func(name string, end bool, key string, results ...reputation.Result) check {
		return check{"batch/" + name, func(tb testing.TB) error {
			t := s.fixture(tb, s.entries(s.Batch.Entries))
			ctx, cancel := context.WithCancel(tb.Context())
			defer cancel()
			if end {
				cancel()
			}
			o, err := t.askAll(ctx, addressesOf(s.Batch.Entries), key)
			return errors.Join(err, o.noAnswers(), o.want(results...), t.wantRequests(0))
		}}
	}
	list := []check{unsent("cancelled before", true, s.testKey(), reputation.ResultError, reputation.ResultTimeout)}
	if s.NoKey {
		return list
	}
	return append(list,
		unsent("broken key", false, s.testKey()+"\n", reputation.ResultRefused),
		unsent("no key", false, "", reputation.ResultRefused))
}

// flooded sends white space before the sample.
func (s *suite) flooded(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", s.sample.Header.Get("Content-Type"))
	space := []byte(strings.Repeat(" ", 1<<20))
	for range 32 {
		if _, err := w.Write(space); err != nil {
			return
		}
	}
	s.entries(s.Batch.Entries)(discardHeader{w}, r)
}

// discardHeader is for a handler that writes after another one.
type discardHeader struct{ http.ResponseWriter }

func (discardHeader) Header() http.Header { return http.Header{} }
func (discardHeader) WriteHeader(int)     {}

// batchTruncated sends beginnings of an answer as if they were complete.
func (s *suite) batchTruncated(tb testing.TB) error {
	var body string
	t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
		reply(200, s.sample.Header.Get("Content-Type"), body)(w, r)
	})
	var bodies []string
	for _, e := range s.Batch.Entries {
		bodies = append(bodies, e.Body)
	}
	whole := strings.TrimSpace(s.Batch.Before + strings.Join(bodies, ",") + s.Batch.After)
	const step = 7 // so that it takes less time
	for n := 0; n < len(whole); n += step {
		body = whole[:n]
		o, err := t.askAll(tb.Context(), addressesOf(s.Batch.Entries), t.key)
		if err := errors.Join(err, o.noAnswers(), o.want(reputation.ResultBadAnswer)); err != nil {
			return fmt.Errorf("the first %d bytes: %w", n, err)
		}
	}
	return nil
}

// batchHanging lets the deadline pass.
func (s *suite) batchHanging(tb testing.TB) error {
	ctx := newManualDeadline()
	t := s.fixture(tb, func(_ http.ResponseWriter, r *http.Request) {
		ctx.expire()
		<-r.Context().Done()
	})
	o, err := t.askAll(ctx, addressesOf(s.Batch.Entries), t.key)
	return errors.Join(err, o.noAnswers(), o.want(reputation.ResultTimeout), t.wantRequests(1))
}

// batchEcho repeats the key, and each of the addresses, in errors and in answers.
func (s *suite) batchEcho(tb testing.TB) error {
	secrets := []string{"invalid key " + testKey}
	for _, e := range s.Batch.Entries {
		secrets = append(secrets, "no such address: "+e.Addr.String(), "no such address: "+e.Addr.StringExpanded())
	}
	for _, secret := range secrets {
		text, _ := json.Marshal(secret)
		members := fmt.Sprintf(
			`{"error":%[1]s,"message":%[1]s,"detail":%[1]s,"title":%[1]s,"errors":[{"detail":%[1]s}]}`, text)
		wrong := s.Batch.Entries[0]
		wrong.Body = memberName(wrong.Body) + members
		for name, answer := range map[string]http.HandlerFunc{
			"200": reply(200, "application/json", members), "in an entry": s.entries([]Entry{wrong}),
			"400": reply(400, "application/json", members), "401": reply(401, "application/json", members),
			"422": reply(422, "application/json", members), "429": reply(429, "application/json", members),
			"500": reply(500, "application/json", members),
		} {
			t := s.fixture(tb, answer)
			o, err := t.askAll(tb.Context(), addressesOf(s.Batch.Entries), t.key)
			reported := slices.ContainsFunc(o.answers, func(a reputation.Answer) bool { return a.Err == nil })
			if reported && o.err == nil {
				err = errors.Join(err, errors.New("an answer that only repeats the question was taken for a report"))
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func addressesOf(entries []Entry) (addrs []netip.Addr) {
	for _, e := range entries {
		addrs = append(addrs, e.Addr)
	}
	return addrs
}

// askAll calls CheckAll. The error is about anything that must never happen.
func (t *fixture) askAll(ctx context.Context, addrs []netip.Addr, key string) (outcome, error) {
	batcher, ok := t.provider.(reputation.Batcher)
	if !ok {
		return outcome{}, fmt.Errorf("the provider is a %T, which has no CheckAll", t.provider)
	}
	o, err := t.call(addrs[0], key, func() (o outcome) {
		o.answers, o.err = batcher.CheckAll(ctx, key, slices.Clone(addrs))
		return o
	}, addrs[1:]...)
	for _, a := range o.answers {
		single := outcome{report: a.Report, err: a.Err}
		for _, addr := range addrs {
			err = errors.Join(err, single.fault(t.baseURL, addr, key))
		}
		err = errors.Join(err, t.undeclared(single))
	}
	return o, err
}

// answersTo compares the answers with the expected ones, in their order.
func (o outcome) answersTo(want []Entry) error {
	if o.err != nil {
		return fmt.Errorf("the whole request fails: %w", o.err)
	}
	if len(o.answers) != len(want) {
		return fmt.Errorf("%d answers about %d addresses", len(o.answers), len(want))
	}
	var faults []error
	for i, e := range want {
		c := Case{Result: e.Result, Report: e.Report}
		if err := c.judge(outcome{report: o.answers[i].Report, err: o.answers[i].Err}); err != nil {
			faults = append(faults, fmt.Errorf("address %d: %w", i, err))
		}
	}
	return errors.Join(faults...)
}

// noAnswers checks that a request that failed has none.
func (o outcome) noAnswers() error {
	if len(o.answers) > 0 {
		return fmt.Errorf("there are %d answers with an error of the whole request (%w)", len(o.answers), o.err)
	}
	return nil
}
