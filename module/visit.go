package module

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
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
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// visit is what is known and decided about one request. It is made once a request, by whichever handler or matcher comes
// first, and lives as long as the request's log entries need it.
type visit struct {
	app     *App
	client  netip.Addr
	verdict reputation.Verdict
	began   time.Time // of the waiting, where a site limits; else nobody needs to know

	// set by a handler
	action     reputation.Action
	enforce    bool
	statusCode int
	rule       int // position in the site's policy, from 1; 0 when no rule decided

	requestID string
	trace     traceID            // zero when the request is not traced
	header    [numHeaders]string // the backing array of the header values
	response  identified
}

// visitKey is the name of the variable that holds the visit of a request.
const visitKey = "ip_reputation_visit"

// visit returns the visit of a request, or nil when nobody has looked its client up yet.
func (v vars) visit() *visit {
	known, _ := v[visitKey].(*visit)
	return known
}

// visit looks the client of a request up and makes what is known of it available to placeholders.
func (a *App) visit(r *http.Request, vars vars, wait time.Duration, exempt *iplist.Index) *visit {
	v := &visit{app: a, client: vars.clientAddr(), requestID: requestID(r, vars), trace: traceOf(r.Context())}
	if vars != nil {
		vars[visitKey] = v // before the look-up, so that its log entries can name the request
	}
	if a.limiter != nil {
		v.began = time.Now()
	}
	switch addr := v.client; {
	case !addr.IsValid():
		a.suspects.sampleMissing()
		v.verdict.Status = reputation.Unknown
	case exempt.Lookup(addr) != 0:
		v.verdict.Status = reputation.Exempt
	case early(r):
		// the address may be forged: asking about it could spend the quota on somebody's behalf
		v.verdict.Status = reputation.Unknown
	default:
		a.suspects.sample(r, vars, addr, a.logger)
		v.verdict = a.look(r.Context(), addr, wait)
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(v.placeholder)
	}
	return v
}

// look asks the engine. A verdict is never worth a failed request: should the engine panic, nothing is known.
func (a *App) look(ctx context.Context, addr netip.Addr, wait time.Duration) (v reputation.Verdict) {
	defer func() {
		if r := recover(); r != nil {
			a.logger.ErrorContext(ctx, "looking an address up panicked; this is a bug", "panic", r)
			v = reputation.Verdict{Status: reputation.Unknown}
		}
	}()
	return a.engine.Lookup(ctx, addr, wait)
}

// identified is a response that carries the correlation ID once: an application that sends back the one it was given would
// otherwise double it, since proxying adds its headers to those that are there.
type identified struct {
	caddyhttp.ResponseWriterWrapper
	visit *visit
}

// identify returns w with the correlation ID. A second handler on the way of a request gets a writer of its own: w may be
// the first one's, or wrap it.
func (v *visit) identify(w http.ResponseWriter) http.ResponseWriter {
	w.Header()[headerRequestID] = v.requestIDHeader()
	response := &v.response
	if response.visit != nil {
		response = new(identified)
	}
	*response = identified{caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, v}
	return response
}

// WriteHeader implements http.ResponseWriter.
func (w *identified) WriteHeader(status int) {
	w.Header()[headerRequestID] = w.visit.requestIDHeader()
	w.ResponseWriter.WriteHeader(status)
}

// decide notes what the site's policy says.
func (v *visit) decide(action reputation.Action, rule *policy.Rule, enforce bool) {
	v.action, v.enforce, v.statusCode = action, enforce, http.StatusForbidden
	if action == reputation.Limit {
		v.statusCode = http.StatusTooManyRequests
	}
	if rule != nil {
		v.rule = rule.Number
		if rule.StatusCode != 0 {
			v.statusCode = rule.StatusCode
		}
	}
}

// mode is the word for how the site treats the action.
func (v *visit) mode() string { return modeWord(v.enforce) }

func modeWord(enforce bool) string {
	if enforce {
		return "enforce"
	}
	return "observe"
}

// blockedText begins the error that a block returns.
const blockedText = "blocked by IP reputation"

// blocked is the error that a block returns. Error pages can show it: it names the request and nothing else.
func (v *visit) blocked() error {
	return fmt.Errorf("%s, request %s", blockedText, v.requestID)
}

// requestID returns the correlation ID of a request: the one it came with, if a trusted proxy vouches for it and it is
// well-formed, else a new one.
func requestID(r *http.Request, vars vars) string {
	if values := r.Header["X-Request-Id"]; len(values) == 1 && wellFormed(values[0]) && vars.fromTrustedProxy() {
		return values[0]
	}
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], rand.Uint64())
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64())
	var text [32]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// traceID returns the ID of the trace that the request is part of, as 32 hexadecimal digits, or the empty string.
func (v *visit) traceID() string {
	if !v.trace.IsValid() {
		return ""
	}
	return v.trace.String()
}

// maxRequestID is the length of the longest inbound correlation ID that is taken over.
const maxRequestID = 128

// wellFormed reports whether an inbound correlation ID can go into headers and logs as it is.
func wellFormed(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-_.:/+=@~", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// placeholder resolves {http.ip_reputation.*}.
func (v *visit) placeholder(key string) (any, bool) {
	name, ours := strings.CutPrefix(key, "http.ip_reputation.")
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
		return v.action.String(), true
	case "mode":
		return v.mode(), true
	case "rule":
		return v.rule, true
	case "categories":
		return v.verdict.Categories.String(), true
	case "reasons":
		return reasonsText(v.verdict.Reasons), true
	case "coverage":
		return coverageText(v.verdict.Coverage), true
	case "country":
		return v.verdict.Facts.Country, true
	case "asn":
		if v.verdict.Facts.ASN == 0 {
			return "", true
		}
		return int(v.verdict.Facts.ASN), true
	case "nature":
		return v.verdict.Facts.Nature.String(), true
	case "subject":
		if !v.client.IsValid() {
			return "", true
		}
		return reputation.Subject(v.client).String(), true
	case "request_id":
		return v.requestID, true
	case "trace_id":
		return v.traceID(), true
	}
	return nil, false
}

// log adds what was found and decided to the request's access-log entry.
func (v *visit) log(r *http.Request) {
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

// MarshalLogObject writes the visit's part of an access-log entry.
func (v *visit) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	if v.verdict.Scored {
		enc.AddUint8("score", v.verdict.Score)
	}
	enc.AddString("status", v.verdict.Status.String())
	enc.AddString("action", v.action.String())
	enc.AddString("mode", v.mode())
	if v.rule != 0 {
		enc.AddInt("rule", v.rule)
	}
	if len(v.verdict.Reasons) > 0 {
		enc.AddString("reasons", reasonsText(v.verdict.Reasons))
	}
	return nil
}
