// Package api answers applications that want to know the reputation of an address, over HTTP.
//
// Every request is counted by the address it comes from before anything else is looked at. Those who ask about addresses need
// a token, which says what they may ask. Whatever goes wrong is told as RFC 9457 has it, with the request's ID and with
// nothing of what is behind.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/rs/cors"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// Backend knows what is asked for. Addresses are unmapped and have no zone.
type Backend interface {
	// Known says what is known of an address. It asks no provider, and takes no longer than ctx.
	Known(ctx context.Context, addr netip.Addr) Answer
	// Ask has the providers asked about an address that have to be, within their terms, and waits for them as long as it is
	// told to; 0 is not at all.
	Ask(ctx context.Context, addr netip.Addr, wait time.Duration) Answer
	// History returns what answers questions about the history, or an error when none is kept.
	History(ctx context.Context) (history.Reader, error)
	// Kept returns an address or a network as the history has it. It fails with an error of package history when it cannot be
	// asked for.
	Kept(prefix netip.Prefix) (netip.Prefix, error)
	// Ready reports whether the process can serve for some time.
	Ready(r *http.Request) bool
}

// Allowance is whether a request keeps within a limit, and what is left of it.
type Allowance struct {
	Allowed    bool
	Policy     string        // the value of RateLimit-Policy
	State      string        // the value of RateLimit
	RetryAfter time.Duration // until another one is allowed; 0 for one that is
}

// Options are what a Handler is made of. All are required but Address, Origins and Logger.
type Options struct {
	Backend Backend
	Tokens  []Token

	// Client returns the address that a request comes from, and the zero address when it is not known.
	Client func(*http.Request) netip.Addr

	// Address counts a request by the address it comes from. Default: nothing is counted.
	Address func(context.Context, netip.Addr) Allowance

	// Failed counts a request without a good token by the address it comes from.
	Failed func(context.Context, netip.Addr) Allowance

	// Origins are those whose scripts may read the answers: see CheckOrigin.
	Origins []string

	// RequestID returns the correlation ID of a request.
	RequestID func(*http.Request) string

	// Count is told of every answer.
	Count func(route Route, status int)

	// Logger is told what only an operator can cure. Default: slog.Default().
	Logger *slog.Logger
}

// Handler answers. It is safe for concurrent use. Create it with New.
type Handler struct {
	o      Options
	cors   *cors.Cors // nil: no origin is named
	shut   lockout
	logged throttle.Causes[string]

	questions chan struct{} // to the history, under way
}

// New returns a Handler. It fails when there is no token, or an origin is none.
func New(o Options) (*Handler, error) {
	if len(o.Tokens) == 0 {
		return nil, errNoTokens
	}
	for _, origin := range o.Origins {
		if err := CheckOrigin(origin); err != nil {
			return nil, err
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Handler{o: o, cors: newCORS(o.Origins), questions: make(chan struct{}, maxQuestions)}, nil
}

var errNoTokens = errors.New("the API has no token, so anybody could ask: write `token {env.API_TOKEN} read`")

// request is a request and what was found out about it.
type request struct {
	*http.Request
	id       string
	client   netip.Addr
	route    Route
	argument string      // the address in the path
	token    *Token      // nil for what needs none
	header   http.Header // of the answer, whatever it is
}

// response is an answer that is not written yet.
type response struct {
	status      int
	contentType string
	cache       string // the value of Cache-Control
	etag        string
	body        []byte
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, argument := routeOf(r.URL.Path)
	q := &request{Request: r, id: h.o.RequestID(r), client: h.o.Client(r), route: route, argument: argument, header: w.Header()}
	q.header.Set("X-Request-Id", q.id)
	q.header.Set("X-Content-Type-Options", "nosniff")
	preflight := h.cors != nil && isPreflight(r)
	if h.cors != nil && !preflight {
		h.cors.HandlerFunc(w, r) // errors are for the named origins to read, too
	}
	res := h.guard(q, preflight)
	res.conditional(q)
	if r.Context().Err() == nil { // who has gone hears no answer, and is no failure of ours
		h.o.Count(route, res.status)
	}
	if preflight && res.status == http.StatusNoContent {
		h.cors.HandlerFunc(w, r)
		return
	}
	res.write(w, q)
}

// guard answers. A panic is our failure, and told as one.
func (h *Handler) guard(q *request, preflight bool) (res response) {
	defer func() {
		r := recover()
		switch {
		case r == http.ErrAbortHandler: //nolint:errorlint // what was recovered is compared as the server does
			panic(r)
		case r != nil:
			h.o.Logger.ErrorContext(q.Context(), "answering a question to the API panicked; this is a bug", slog.Any("panic", r))
			res = h.problem(q, internal())
		}
	}()
	answer, err := h.answer(q, preflight)
	if err == nil {
		return answer
	}
	p, ok := errors.AsType[*problem](err)
	if !ok {
		if h.logged.Allow("unexpected", time.Now()) {
			h.o.Logger.ErrorContext(q.Context(), "a question to the API could not be answered", slog.Any("error", err))
		}
		p = internal()
	}
	return h.problem(q, p)
}

// answer does what is asked for. Errors are problems, or ours.
func (h *Handler) answer(q *request, preflight bool) (response, error) {
	if q.TLS != nil && !q.TLS.HandshakeComplete {
		return response{}, errEarly // its address may be forged, and others would pay for it
	}
	if err := h.limitAddress(q); err != nil {
		return response{}, err
	}
	if preflight {
		return response{status: http.StatusNoContent}, nil
	}
	e := &endpoints[q.route]
	if e.serve == nil {
		return response{}, errNotFound
	}
	switch {
	case q.Method == http.MethodOptions:
		q.header.Set("Allow", e.allow())
		return response{status: http.StatusNoContent}, nil
	case q.Method == e.method, q.Method == http.MethodHead && e.method == http.MethodGet:
	default:
		q.header.Set("Allow", e.allow())
		return response{}, newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "use "+e.allow())
	}
	if e.scope != 0 {
		q.header.Add("Vary", "Authorization")
		if err := h.authorize(q, e.scope); err != nil {
			return response{}, err
		}
	}
	return e.serve(h, q)
}

// limitAddress counts the request by where it comes from. Health is not counted: who asks for it asks often, and takes a
// refusal for illness.
func (h *Handler) limitAddress(q *request) error {
	if h.o.Address == nil || q.route == RouteHealth || !q.client.IsValid() {
		return nil
	}
	return q.spend(h.o.Address(q.Context(), q.client))
}

// spend says what is left of a limit, and returns a problem when it was nothing.
func (q *request) spend(a Allowance) error {
	if a.Policy != "" {
		q.header.Add("RateLimit-Policy", a.Policy)
		q.header.Add("RateLimit", a.State)
	}
	if a.Allowed {
		return nil
	}
	return tooMany(a.RetryAfter)
}

// conditional makes it 304 where the client has the answer already.
func (res *response) conditional(q *request) {
	if res.etag != "" && hasCopy(q.Header["If-None-Match"], res.etag) {
		res.status, res.contentType, res.body = http.StatusNotModified, "", nil
	}
}

// write sends the answer.
func (res *response) write(w http.ResponseWriter, q *request) {
	header := w.Header()
	if res.cache != "" {
		header.Set("Cache-Control", res.cache)
	}
	if res.etag != "" {
		header.Set("ETag", res.etag)
	}
	if res.contentType != "" {
		header.Set("Content-Type", res.contentType)
		header.Set("Content-Length", strconv.Itoa(len(res.body)))
	}
	w.WriteHeader(res.status)
	if q.Method != http.MethodHead {
		_, _ = w.Write(res.body)
	}
}
