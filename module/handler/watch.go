package handler

import (
	"errors"
	"log/slog"
	"math/bits"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// watch is what a site takes for violations. The nil watch sees none.
type watch struct {
	rules           []violationRule
	traps           uint64 // the rules that the request alone decides about, a bit for each
	fromApplication bool
	signedIn        SignedIn

	counted, ignored sample // of the decision log
}

// violationRule is a ViolationRule at work.
type violationRule struct {
	name          string
	path, notPath *paths // nil for any, and for none
	method        caddyhttp.MatchMethod
	match         matchers
	response      *caddyhttp.ResponseMatcher // nil for a trap
	oncePerPath   bool
}

// matching returns the rules whose conditions on the request hold, a bit for each. It is asked before other handlers
// change the request.
func (w *watch) matching(r *http.Request) (rules uint64) {
	path := cleaned(r)
	for i := range w.rules {
		if w.rules[i].holds(r, path) {
			rules |= 1 << i
		}
	}
	return rules
}

func (c *violationRule) holds(r *http.Request, path string) bool {
	switch {
	case len(c.method) > 0 && !c.method.Match(r),
		c.path != nil && !c.path.match(r, path),
		c.notPath != nil && c.notPath.match(r, path):
		return false
	}
	return c.match.holds(r)
}

// trapped counts the traps among the rules that match a request, and reports whether one was counted. The client, which
// has more points then, is looked up anew. A request that is refused anyway touches no trap.
func (h *Handler) trapped(r *http.Request, v *visit, matched uint64) (counted bool) {
	traps := matched & h.watch.traps
	if traps == 0 {
		return false
	}
	if v.decision.enforce && v.decision.action != reputation.Pass {
		h.runtime.Conduct.Ignore(violation.IgnoredRefused)
		return false
	}
	for ; traps != 0; traps &= traps - 1 {
		if h.saw(r, v, &h.watch.rules[bits.TrailingZeros64(traps)], 0) {
			counted = true
		}
	}
	if counted {
		v.lookUp(r, request.VarsOf(r), 0, h.exempt, h.lookupRequest(r))
	}
	return counted
}

// respond takes notice of a response that is about to begin, and removes what the application says of violations: it
// is for us alone.
func (w *identified) respond(status int) {
	h := w.Header()
	named, says := h[headerViolation]
	if says {
		delete(h, headerViolation)
	}
	if w.began || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return // the final response is still to come
	}
	w.began = true
	if w.handler != nil {
		w.handler.watched(w, status, h, named)
	} else if says {
		w.visit.runtime.Conduct.Ignore(violation.IgnoredUntrusted)
	}
}

// end takes notice of a response that no handler has begun: an error, which error routes will render, or an empty one.
func (w *identified) end(err error) {
	if !w.began {
		w.respond(statusOf(err))
	}
}

// statusOf returns the status that the server gives a response after all handlers have returned.
func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if failure, ok := errors.AsType[caddyhttp.HandlerError](err); ok && failure.StatusCode != 0 {
		return failure.StatusCode
	}
	return http.StatusInternalServerError
}

// statusGone is what a proxy makes of a request whose client did not wait for the answer. It is no answer, so 4xx does
// not include it.
const statusGone = 499

// watched counts what a response shows: violations, or a good answer. A fault of ours costs no request.
func (h *Handler) watched(w *identified, status int, header http.Header, named []string) {
	defer func() {
		if fault := recover(); fault != nil && h.panicked.Allow(struct{}{}, time.Now()) {
			h.runtime.Logger.ErrorContext(w.request.Context(), "watching a response panicked; this is a bug",
				slog.Any("panic", fault), slog.String("at", string(debug.Stack())))
		}
	}()
	v, good := w.visit, status < http.StatusBadRequest && w.matched&h.watch.traps == 0
	for rest := w.matched &^ h.watch.traps; rest != 0; rest &= rest - 1 {
		rule := &h.watch.rules[bits.TrailingZeros64(rest)]
		switch {
		case !rule.response.Match(status, header), status == statusGone && !slices.Contains(rule.response.StatusCode, status):
			continue
		case v.refused: // by a handler that came later
			h.runtime.Conduct.Ignore(violation.IgnoredRefused)
		default:
			h.saw(w.request, v, rule, status)
		}
		good = false
	}
	if named != nil {
		h.countNamed(w.request, v, named, status)
	} else if good && v.known == nil && v.client.IsValid() {
		h.runtime.Conduct.Store().CountGood(v.client)
	}
}

// saw counts a violation that a rule has found, and reports whether it was counted.
func (h *Handler) saw(r *http.Request, v *visit, rule *violationRule, status int) bool {
	if !v.accuse(rule.name) {
		return false
	}
	by := foreign(r)
	if rule.response == nil {
		by = foreignToTraps(r)
	}
	why := h.spare(r, v)
	if why == "" && by != "" {
		why = violation.IgnoredForeign
		v.sightings.excused = append(v.sightings.excused, rule.name)
	}
	if why != "" {
		h.decisions.violation(&h.watch.ignored, r, v, rule.name, h.runtime.Conduct.Ignore(why), by)
		return false
	}
	o := h.offence(r, v, rule.name, status)
	o.OncePerPath = rule.oncePerPath
	if t := h.runtime.Conduct.Terms(rule.name); t != nil && t.Free > 0 &&
		(h.watch.signedIn.shows(r) || h.runtime.Conduct.InGoodStanding(v.client)) {
		o.Share = goodShare
	}
	return h.count(r, v, &o)
}

// sightings are what a request was seen to do. The nil sightings are none.
type sightings struct {
	seen    []string // the names of violations
	counted []string // those of them that were counted
	excused []string // those of them that a foreign page has caused
}

// text is the names of what was counted.
func (s *sightings) text() string {
	if s == nil {
		return ""
	}
	return strings.Join(s.counted, ", ")
}

// accuse reports whether a violation of this name is the first of the request: another rule, another handler or the
// application may have seen it, too.
func (v *visit) accuse(name string) bool {
	if v.sightings == nil {
		v.sightings = new(sightings)
	}
	if slices.Contains(v.sightings.seen, name) {
		return false
	}
	v.sightings.seen = append(v.sightings.seen, name)
	return true
}

// accuseNamed is accuse for what the application names. It counts even if a rule has seen the same, and spared the client
// since a foreign page had caused the request.
func (v *visit) accuseNamed(name string) bool {
	if v.accuse(name) {
		return true
	}
	i := slices.Index(v.sightings.excused, name)
	if i < 0 {
		return false
	}
	v.sightings.excused = slices.Delete(v.sightings.excused, i, i+1)
	return true
}

// goodShare is what part of its points a mistake costs a client in good standing.
const goodShare = .25

// spare returns why nothing may be held against the client of a request, or the empty string.
func (h *Handler) spare(r *http.Request, v *visit) violation.Ignored {
	if v.known != nil {
		return violation.IgnoredEarly // the address may be forged
	}
	return h.runtime.Conduct.Spare(r, v.client, &v.verdict)
}

// offence describes a violation by a request.
func (h *Handler) offence(r *http.Request, v *visit, name string, status int) conduct.Offence {
	original := originalOf(r)
	return conduct.Offence{
		Violation: name, Client: v.client, At: time.Now(), Site: r.Host, Method: original.Method, Path: original.URL.Path,
		Status: status, RequestID: v.requestID, Enforce: h.enforce, Share: 1,
		MayBeBot: h.runtime.MayBeBot(v.client, original.UserAgent()),
	}
}

// count counts a violation, and reports whether it was counted.
func (h *Handler) count(r *http.Request, v *visit, o *conduct.Offence) bool {
	result := h.runtime.Conduct.Violate(r.Context(), *o)
	log := &h.watch.ignored
	if result.Counted {
		log = &h.watch.counted
		v.sightings.counted = append(v.sightings.counted, o.Violation)
	}
	h.decisions.violation(log, r, v, o.Violation, result, "")
	return result.Counted
}

// What is read of the header in which an application names violations.
const (
	maxNamed      = 8    // violations of one response
	maxNamedBytes = 1024 // of all values together
)

// countNamed counts the violations that the application names in a response, if the site takes them.
func (h *Handler) countNamed(r *http.Request, v *visit, values []string, status int) {
	names, excess := namesIn(values)
	why := violation.Ignored("")
	switch {
	case !h.watch.fromApplication:
		why = violation.IgnoredUntrusted
	case v.refused:
		why = violation.IgnoredRefused
	case excess:
		h.runtime.Conduct.Ignore(violation.IgnoredExcess)
	}
	for _, name := range names {
		if why != violation.IgnoredUntrusted && !v.accuseNamed(name) {
			continue
		}
		if why == "" {
			why = h.spare(r, v)
		}
		if why != "" {
			h.decisions.violation(&h.watch.ignored, r, v, name, h.runtime.Conduct.Ignore(why), "")
			continue
		}
		o := h.offence(r, v, name, status)
		h.count(r, v, &o)
	}
}

// namesIn returns the names in a header, and whether there are more than are read. A name that is cut off is none.
func namesIn(values []string) (names []string, excess bool) {
	left := maxNamedBytes
	for _, value := range values {
		if len(value) > left {
			value, excess = value[:left], true
			value = value[:max(strings.LastIndexByte(value, ','), 0)]
		}
		left -= len(value)
		for name := range strings.SplitSeq(value, ",") {
			switch name = strings.Trim(name, " \t"); {
			case name == "":
			case len(names) == maxNamed:
				return names, true
			default:
				names = append(names, strings.Clone(name))
			}
		}
		if excess {
			break
		}
	}
	return names, excess
}

// shows reports whether a request looks like one of a visitor who has signed in.
func (s *SignedIn) shows(r *http.Request) bool {
	for _, name := range s.Header {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	for _, name := range s.Cookie {
		if cookie, err := r.Cookie(name); err == nil && cookie.Value != "" {
			return true
		}
	}
	return false
}
