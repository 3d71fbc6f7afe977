package handler

import (
	"fmt"
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
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// visit is what is known and decided about one request. It is made once a request, by whichever handler or
// matcher comes first, and lives as long as the request's log entries need it.
type visit struct {
	runtime *runtime.Runtime
	client  netip.Addr
	verdict reputation.Verdict
	began   time.Time // when the look-up began; zero unless a site limits

	// set by a handler
	action     reputation.Action
	enforce    bool
	statusCode int
	rule       int // position in the site's policy, from 1; 0 when no rule decided

	requestID string
	trace     runtime.TraceID    // zero when the request is not traced
	header    [numHeaders]string // the backing array of the header values
	response  identified
}

// visitOf returns the visit of a request, or nil when nobody has looked its client up yet.
func visitOf(vars runtime.Vars) *visit {
	known, _ := vars[runtime.VisitKey].(*visit)
	return known
}

// RequestID returns the correlation ID, for log entries about the request.
func (v *visit) RequestID() string { return v.requestID }

// newVisit looks the client of a request up and makes what is known of it available to placeholders.
func newVisit(rt *runtime.Runtime, r *http.Request, vars runtime.Vars, wait time.Duration, exempt *iplist.Index) *visit {
	v := &visit{runtime: rt, client: vars.Client(), requestID: runtime.RequestID(r, vars), trace: runtime.TraceOf(r.Context())}
	if vars != nil {
		vars[runtime.VisitKey] = v // before the look-up, so that its log entries can name the request
	}
	if rt.Limiter != nil {
		v.began = time.Now()
	}
	switch addr := v.client; {
	case !addr.IsValid():
		v.verdict.Status = reputation.Unknown
	case exempt.Lookup(addr) != 0:
		v.verdict.Status = reputation.Exempt
	case early(r):
		// the address may be forged: asking about it could spend the quota on somebody's behalf
		v.verdict.Status = reputation.Unknown
	default:
		v.verdict = rt.Lookup(r.Context(), addr, wait)
	}
	rt.Suspects.Sample(r, vars, v.client, v.verdict.Status, rt.Logger)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(v.placeholder)
	}
	return v
}

// identified is a response that carries the correlation ID once: an application that sends back the one it
// was given would otherwise double it, since proxying adds its headers to those that are there.
type identified struct {
	caddyhttp.ResponseWriterWrapper
	visit *visit
}

// identify returns w with the correlation ID. A second handler on the way of a request gets a writer of its
// own: w may be the first one's, or wrap it.
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

// decide stores what the site's policy says.
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

// blocked is the error that a block returns. Error pages can show it: it names the request and nothing else.
func (v *visit) blocked() error {
	return fmt.Errorf("%s, request %s", runtime.BlockedText, v.requestID)
}

// traceID returns the ID of the trace that the request is part of, as 32 hexadecimal digits, or the empty string.
func (v *visit) traceID() string {
	if !v.trace.IsValid() {
		return ""
	}
	return v.trace.String()
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
