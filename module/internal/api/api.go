// Package api serves reputation and history to applications, and takes violations from them, over HTTP.
//
// Requests are first rate-limited by client address. Requests about addresses then need a token
// with the right scope. Errors are RFC 9457 problems: they contain the request's ID, and no
// internal details.
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

// Backend provides the data. Addresses are unmapped and have no zone.
type Backend interface {
	// Known returns the verdict from stored answers. It asks no provider, and takes no longer than
	// ctx.
	Known(ctx context.Context, addr netip.Addr) Answer
	// Ask lets the providers be asked, within their quotas, about what is missing. It waits for
	// them up to wait; 0 does not wait.
	Ask(ctx context.Context, addr netip.Addr, wait time.Duration) Answer
	// History returns the reader of the history. It fails if no history is recorded.
	History(ctx context.Context) (history.Reader, error)
	// Stored returns an address or a network in the form that the history stores. It fails with an
	// error of package history if that form cannot be queried.
	Stored(prefix netip.Prefix) (netip.Prefix, error)
	// Violate counts a violation against its address. It does not wait.
	Violate(ctx context.Context, v Violation) ViolationResult
	// Violations returns the names of all violations.
	Violations() []string
	// Ready reports whether the process is ready and not about to shut down.
	Ready(r *http.Request) bool
}

// Allowance is the result of a rate limit.
type Allowance struct {
	Allowed    bool
	Policy     string        // the value of RateLimit-Policy
	State      string        // the value of RateLimit
	RetryAfter time.Duration // until the next request is allowed; 0 if this one is
}

// Options configure a Handler. All are required but Address, Origins and Logger.
type Options struct {
	Backend Backend
	Tokens  []Token

	// Client returns the address of the client; the zero address if unknown.
	Client func(*http.Request) netip.Addr

	// Address counts a request against the limit of its address. Default: no limit.
	Address func(context.Context, netip.Addr) Allowance

	// Failed counts a request without a valid token against its address.
	Failed func(context.Context, netip.Addr) Allowance

	// Origins are the sites whose scripts may read the answers: see CheckOrigin.
	Origins []string

	// RequestID returns the correlation ID of a request.
	RequestID func(*http.Request) string

	// Count is called for every answer.
	Count func(route Route, status int)

	// Logger receives messages for the operator. Default: slog.Default().
	Logger *slog.Logger
}

// Handler serves the API. It is safe for concurrent use. Create it with New.
type Handler struct {
	o       Options
	cors    *cors.Cors // nil: no origins
	lockout lockout
	logged  throttle.Causes[string]

	queries chan struct{} // one per running query of the history
}

// New returns a Handler. It fails if there is no token, or if an origin is invalid.
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
	return &Handler{o: o, cors: newCORS(o.Origins), queries: make(chan struct{}, maxQueries)}, nil
}

var errNoTokens = errors.New("the API has no token, so anybody could ask: write `token {env.API_TOKEN} read`")

// request is a request with the values derived from it.
type request struct {
	*http.Request
	id       string
	client   netip.Addr
	route    Route
	argument string      // the address in the path
	token    *Token      // nil if the route needs none
	header   http.Header // of the answer, even if it is an error
}

// response is an answer before it is written.
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
	q := &request{
		Request: r, id: h.o.RequestID(r), client: h.o.Client(r),
		route: route, argument: argument, header: w.Header(),
	}
	q.header.Set("X-Request-Id", q.id)
	q.header.Set("X-Content-Type-Options", "nosniff")
	preflight := h.cors != nil && isPreflight(r)
	if h.cors != nil && !preflight {
		h.cors.HandlerFunc(w, r) // the origins may read errors, too
	}
	res := h.guard(q, preflight)
	res.conditional(q)
	if r.Context().Err() == nil { // a client that has disconnected is not counted
		h.o.Count(route, res.status)
	}
	if preflight && res.status == http.StatusNoContent {
		h.cors.HandlerFunc(w, r)
		return
	}
	res.write(w, q)
}

// guard calls answer, and turns errors and panics into problems.
func (h *Handler) guard(q *request, preflight bool) (res response) {
	defer func() {
		r := recover()
		switch {
		case r == http.ErrAbortHandler: //nolint:errorlint // net/http compares it this way, too
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

// answer checks limits, method and token, and calls the endpoint. An error that is not a problem is
// internal.
func (h *Handler) answer(q *request, preflight bool) (response, error) {
	if q.TLS != nil && !q.TLS.HandshakeComplete && q.ProtoMajor == 3 {
		// The address of early data may be forged: it must not use up another client's limit. Only
		// HTTP/3 has early data; elsewhere a listener wrapper terminates TLS.
		return response{}, errEarly
	}
	if preflight { // not counted: a script sees a refused preflight as a network error, not as a 429
		return response{status: http.StatusNoContent}, nil
	}
	if err := h.limitAddress(q); err != nil {
		return response{}, err
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

// limitAddress counts a request against the limit of its address. It does not count health checks:
// they are frequent, and a refusal would look like a failure.
func (h *Handler) limitAddress(q *request) error {
	if h.o.Address == nil || q.route == RouteHealth || !q.client.IsValid() {
		return nil
	}
	return q.applyLimit(h.o.Address(q.Context(), q.client))
}

// applyLimit writes the headers of a limit, and returns a problem if it is exceeded.
func (q *request) applyLimit(a Allowance) error {
	if a.Policy != "" {
		q.header.Add("RateLimit-Policy", a.Policy)
		q.header.Add("RateLimit", a.State)
	}
	if a.Allowed {
		return nil
	}
	return tooMany(a.RetryAfter)
}

// conditional turns the answer into 304 if the client already has it.
func (res *response) conditional(q *request) {
	if res.etag != "" && matchesETag(q.Header["If-None-Match"], res.etag) {
		res.status, res.contentType, res.body = http.StatusNotModified, "", nil
	}
}

// write writes the answer.
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
