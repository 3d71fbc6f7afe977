package handler

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// visit is what is known and decided about one request. It is made once a request, by whichever handler or
// matcher comes first, and lives as long as the request's log entries need it.
type visit struct {
	runtime *runtime.Runtime
	client  netip.Addr
	verdict reputation.Verdict
	known   *reputation.Verdict // what is known of an address that may be forged; nil once the handshake is complete
	stakes  *stakes             // that the look-up was made for; nil for everything
	waited  time.Duration       // by the look-up; zero unless a site limits

	decision decision // of the last handler that decided
	exempt   bool     // by a site's own `exempt`
	refused  bool     // by a handler

	sightings *sightings // nil until a violation is seen

	requestID string
	trace     request.TraceID    // zero when the request is not traced
	header    [numHeaders]string // the backing array of the header values
	response  identified
}

// originalOf returns a request as it came: other handlers may have changed r since. Its Host is missing, as Caddy stores
// it.
func originalOf(r *http.Request) http.Request {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original
	}
	return *r
}

// visitOf returns the visit of a request, or nil when nobody has looked its client up yet.
func visitOf(vars request.Vars) *visit {
	known, _ := vars[request.VisitKey].(*visit)
	return known
}

// RequestID returns the correlation ID, for log entries about the request.
func (v *visit) RequestID() string { return v.requestID }

// newVisit makes what is known of a request available to placeholders and log entries. Nothing is, yet.
func newVisit(rt *runtime.Runtime, r *http.Request, vars request.Vars) *visit {
	v := &visit{runtime: rt, trace: request.TraceOf(r.Context())}
	if early(r) {
		v.requestID = request.ID(r, nil) // that a trusted proxy sent it may be forged, too
	} else {
		v.requestID = request.ID(r, vars)
	}
	if vars != nil {
		vars[request.VisitKey] = v
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(v.placeholder)
	}
	return v
}

// openVisit returns the visit of a request, and whether its client is known to it: another module may have changed the
// client's address since.
func openVisit(rt *runtime.Runtime, r *http.Request, vars request.Vars) (v *visit, known bool) {
	v = visitOf(vars)
	if v == nil {
		return newVisit(rt, r, vars), false
	}
	known = v.runtime == rt && v.client == vars.Client(rt.NAT64)
	v.runtime = rt
	v.trace = request.TraceOf(r.Context()) // a matcher may have come before `tracing`
	return v, known
}

// isExempt reports whether a site does not judge an address.
func isExempt(exempt *iplist.Index, addr netip.Addr) bool {
	return addr.IsValid() && exempt.Lookup(addr) != 0
}

// lookUp looks the client up.
func (v *visit) lookUp(
	r *http.Request, vars request.Vars, wait time.Duration, exempt *iplist.Index, request runtime.LookupRequest,
) {
	v.verdict, v.known = reputation.Verdict{Status: reputation.Unknown}, nil
	v.stakes, _ = request.Stakes.(*stakes)
	v.client = vars.Client(v.runtime.NAT64)
	v.exempt = isExempt(exempt, v.client)
	rt := v.runtime
	switch {
	case !v.client.IsValid():
	case early(r):
		v.known = v.unverified()
	case v.exempt:
		v.verdict = reputation.Verdict{Status: reputation.Exempt, Facts: rt.Facts(v.client)}
	case rt.Limiter == nil:
		v.verdict = rt.LookupClient(r.Context(), v.client, r.UserAgent(), request, wait)
	default:
		began := time.Now()
		v.verdict = rt.LookupClient(r.Context(), v.client, r.UserAgent(), request, wait)
		v.waited = time.Since(began)
	}
	if reputation.IsClassE(v.client) {
		v.judgePseudo(vars)
	}
	rt.Conduct.SawClient(v.client)
	rt.Conduct.Suspects.Sample(r, vars, v.client, &v.verdict, rt.Logger)
}

// judgePseudo exempts an address of 240.0.0.0/4 like others that are reserved, unless a trusted proxy has made it up
// for a visitor, or the operator has denied or banned it.
func (v *visit) judgePseudo(vars request.Vars) {
	if vars.FromTrustedProxy() {
		v.runtime.Conduct.Suspects.CountPseudo(v.runtime.Logger)
	} else if v.known == nil && policy.Unwanted(&v.verdict) == "" {
		v.verdict = reputation.Verdict{Status: reputation.Exempt, Facts: v.verdict.Facts}
	}
}

// unverified returns what this process knows of an address that may be forged. Nobody is asked, which could spend the
// quota on somebody's behalf, and such an address is never exempt.
func (v *visit) unverified() *reputation.Verdict {
	known := reputation.Verdict{Status: reputation.Unknown}
	if !v.exempt {
		known = v.runtime.Known(v.client)
	}
	if known.Status == reputation.Exempt {
		known = reputation.Verdict{Status: reputation.Unknown}
	}
	return &known
}

// judged is the verdict that conditions are tested against.
func (v *visit) judged() *reputation.Verdict {
	if v.known != nil {
		return v.known
	}
	return &v.verdict
}

// early reports whether a request arrived before its handshake was complete, so that its address may be forged
// (RFC 8470). Only HTTP/3 has such requests: over TCP, a TLS state that is not complete is one that a listener wrapper
// left empty.
func early(r *http.Request) bool {
	return r.ProtoMajor == 3 && r.TLS != nil && !r.TLS.HandshakeComplete
}

// identified is a response that carries the correlation ID once: an application that sends back the one it
// was given would otherwise double it, since proxying adds its headers to those that are there. It also shows the handler
// how the response begins.
type identified struct {
	caddyhttp.ResponseWriterWrapper
	visit *visit
	began bool // the final response: its status is sent, or will be

	// Of a handler that watches for violations, else nil.
	handler *Handler
	request *http.Request
	matched uint64
}

// identify returns w with the correlation ID. A second handler on the way of a request gets a writer of its
// own: w may be the first one's, or wrap it.
func (v *visit) identify(w http.ResponseWriter) *identified {
	w.Header()[headerRequestID] = v.requestIDHeader()
	response := &v.response
	if response.visit != nil {
		response = new(identified)
	}
	*response = identified{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, visit: v}
	return response
}

// WriteHeader implements http.ResponseWriter.
func (w *identified) WriteHeader(status int) {
	h := w.Header()
	h[headerRequestID] = w.visit.requestIDHeader()
	if w.visit.refused {
		forbidStorage(h, othersWrite(w.ResponseWriter))
	}
	w.respond(status)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *identified) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom.
func (w *identified) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError sends what there is, for http.ResponseController.
func (w *identified) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// begin sends the status that a response without one has.
func (w *identified) begin() {
	if !w.began {
		w.WriteHeader(http.StatusOK)
	}
}

// traceID returns the ID of the trace that the request is part of, as 32 hexadecimal digits, or the empty string.
func (v *visit) traceID() string {
	if !v.trace.IsValid() {
		return ""
	}
	return v.trace.String()
}

// placeholders is how the names of our placeholders begin.
const placeholders = "http.ip_reputation."

// placeholder resolves {http.ip_reputation.*}.
func (v *visit) placeholder(key string) (any, bool) {
	name, ours := strings.CutPrefix(key, placeholders)
	if !ours {
		return nil, false
	}
	switch name {
	case "score":
		if !v.verdict.Scored {
			return "", true
		}
		return int(v.verdict.Score), true
	case "status":
		return v.verdict.Status.String(), true
	case "action":
		return v.decision.action.String(), true
	case "mode":
		return v.decision.mode(), true
	case "rule":
		return v.decision.number(), true
	case "categories":
		return v.verdict.Categories.String(), true
	case "reasons":
		return reasonsText(&v.verdict), true
	case "coverage":
		return coverageText(v.verdict.Coverage), true
	case "country":
		return v.verdict.Facts.Country, true
	case "asn":
		if v.verdict.Facts.ASN == 0 {
			return "", true
		}
		return int(v.verdict.Facts.ASN), true
	case "as_name":
		return v.verdict.Facts.ASName, true
	case "nature":
		return v.verdict.Facts.Nature.String(), true
	case "bot":
		return v.verdict.Facts.Bot, true
	case "subject":
		if !v.client.IsValid() {
			return "", true
		}
		return reputation.Subject(v.client).String(), true
	case "network":
		if !v.client.IsValid() {
			return "", true
		}
		return reputation.Network(v.client).String(), true
	case "violations":
		return v.sightings.text(), true
	case "request_id":
		return v.requestID, true
	case "trace_id":
		return v.traceID(), true
	}
	return nil, false
}

// logAccess adds what was found and decided to the request's access-log entry.
func (v *visit) logAccess(r *http.Request) {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.Logs == nil {
		return // nothing is logged
	}
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.Object("ip_reputation", v))
		extra.Set(zap.String("request_id", v.requestID))
		if v.trace.IsValid() {
			extra.Set(zap.String("trace_id", v.traceID()))
		}
	}
}

// addUnwanted adds which of the operator's own lists, or why a ban, speaks against the client.
func (v *visit) addUnwanted(enc zapcore.ObjectEncoder) {
	switch {
	case v.decision.denied:
		if lists := v.runtime.Lists.DenyLists(v.client, v.judged().Facts); lists != "" {
			enc.AddString("list", lists)
		}
	case v.decision.banned:
		if entry, found := v.runtime.Overrides.BanOf(v.client); found && entry.Why() != "" {
			enc.AddString("ban_reason", entry.Why())
		}
	}
}

// MarshalLogObject writes the visit's part of an access-log entry.
func (v *visit) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	if v.verdict.Scored {
		enc.AddUint8("score", v.verdict.Score)
	}
	enc.AddString("status", v.verdict.Status.String())
	enc.AddString("action", v.decision.action.String())
	enc.AddString("mode", v.decision.mode())
	if number := v.decision.number(); number != 0 {
		enc.AddInt("rule", number)
	}
	if len(v.verdict.Reasons) > 0 {
		enc.AddString("reasons", reasonsText(&v.verdict))
	}
	if bot := v.verdict.Facts.Bot; bot != "" {
		enc.AddString("bot", bot)
	}
	if by := v.decision.by(); by != "" {
		enc.AddString("decided_by", by)
	}
	if counted := v.sightings.text(); counted != "" {
		enc.AddString("violations", counted)
	}
	v.addUnwanted(enc)
	return nil
}
