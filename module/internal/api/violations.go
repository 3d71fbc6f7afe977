package api

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

const (
	maxViolationsBody = 64 << 10
	maxPath           = 1024
	maxRequestID      = 128

	// ignoredUnknown is why a violation is ignored that has no terms.
	ignoredUnknown = "unknown"
)

// Violation is what an application reports of a client of its own.
type Violation struct {
	Address   netip.Addr
	Name      string
	Path      string // that the client asked for; may be empty
	RequestID string // of the client's request, else of the report
	Host      string // that the report was sent to
	Token     string // by its name
}

// ViolationResult is what came of a violation.
type ViolationResult struct {
	Address   netip.Addr   `json:"address"`
	Subject   netip.Prefix `json:"subject"` // that it counts against: an IPv4 address or an IPv6 /64
	Violation string       `json:"violation"`
	Counted   bool         `json:"counted"`
	Ignored   string       `json:"ignored,omitempty"` // why it was not counted
	Points    float64      `json:"points"`            // of all violations of this name, now
}

// reportedViolation is a violation in the body of POST /v1/violations.
type reportedViolation struct {
	Address   string `json:"address"`
	Violation string `json:"violation"`
	Path      string `json:"path"`
	RequestID string `json:"request_id"`
}

// violationFailure is the result for a violation with a mistake in it.
type violationFailure struct {
	Address   string `json:"address"`
	Violation string `json:"violation"`
	Error     string `json:"error"`
}

// violations answers POST /v1/violations. One violation is answered by itself, and a list by results.
func (h *Handler) violations(q *request) (response, error) {
	if _, err := q.query(); err != nil {
		return response{}, err
	}
	reported, single, err := q.reportedViolations()
	if err != nil {
		return response{}, err
	}
	if err := q.countAddresses(len(reported) - 1); err != nil { // authorize counted the first
		return response{}, err
	}
	if single {
		result, err := h.violate(q, reported[0])
		if err != nil {
			return response{}, err
		}
		return jsonResponse(result, cacheNone)
	}
	all := results{make([]any, len(reported))}
	for i, r := range reported {
		result, err := h.violate(q, r)
		if err != nil {
			all.Results[i] = violationFailure{shorten(r.Address), shorten(r.Violation), err.Error()}
			continue
		}
		all.Results[i] = result
	}
	return jsonResponse(all, cacheNone)
}

// reportedViolations parses the body: a violation, or a list of them.
func (q *request) reportedViolations() (all []reportedViolation, single bool, err error) {
	body, err := q.jsonBody(maxViolationsBody)
	if err != nil {
		return nil, false, err
	}
	single = bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
	var ok bool
	if single {
		all = make([]reportedViolation, 1)
		ok = decodeStrictly(body, &all[0])
	} else {
		ok = decodeStrictly(body, &all)
	}
	switch limit := q.maxAddresses(); {
	case !ok:
		return nil, false, badRequest(`the body must be one JSON object such as ` +
			`{"address": "203.0.113.5", "violation": "spam", "path": "/comments", "request_id": "…"}, of which the ` +
			`last two may be missing, or a list of them`)
	case len(all) == 0:
		return nil, false, badRequest("there is no violation in the body: report one or more")
	case len(all) > limit:
		return nil, false, badRequest(
			fmt.Sprintf("%d violations are too many: report up to %d in one request", len(all), limit))
	}
	return all, single, nil
}

// violate counts one violation. Its errors are problems, for whoever reported it.
func (h *Handler) violate(q *request, reported reportedViolation) (ViolationResult, error) {
	v, err := reported.parse()
	if err != nil {
		return ViolationResult{}, badRequest(err.Error())
	}
	if may := q.token.Violations; len(may) > 0 && !slices.Contains(may, v.Name) {
		return ViolationResult{}, insufficientScope(ScopeViolations,
			fmt.Sprintf("the token may not report %q: it may report %s", shorten(v.Name), strings.Join(may, ", ")))
	}
	v.Host, v.Token = q.Host, q.token.Name
	if v.RequestID == "" {
		v.RequestID = q.id
	}
	result := h.o.Backend.Violate(q.Context(), v)
	if result.Ignored == ignoredUnknown {
		return ViolationResult{}, badRequest(
			fmt.Sprintf("there is no violation %q: use %s", shorten(v.Name), strings.Join(h.o.Backend.Violations(), ", ")))
	}
	result.Points = math.Round(result.Points*100) / 100
	h.logViolation(q, v, result)
	return result, nil
}

// logViolation logs who reported what: it may end in a ban of somebody else.
func (h *Handler) logViolation(q *request, v Violation, result ViolationResult) {
	attributes := []slog.Attr{
		slog.String("token", v.Token), slog.Any("subject", result.Subject), slog.String("violation", v.Name),
		slog.Bool("counted", result.Counted), slog.Float64("points", result.Points),
	}
	if v.RequestID != q.id { // which the entry has by itself
		attributes = append(attributes, slog.String("visitor_request_id", v.RequestID))
	}
	if result.Ignored != "" {
		attributes = append(attributes, slog.String("why", result.Ignored))
	}
	h.o.Logger.LogAttrs(q.Context(), slog.LevelInfo, "a violation was reported over the API", attributes...)
}

// parse checks what was reported. The path loses its query, which may have secrets.
func (r *reportedViolation) parse() (Violation, error) {
	addr, err := parseAddress(r.Address)
	if err != nil {
		return Violation{}, err
	}
	path, _, _ := strings.Cut(r.Path, "?")
	path, _, _ = strings.Cut(path, "#")
	switch {
	case r.Violation == "":
		return Violation{}, errors.New("violation is missing: name one")
	case len(path) > maxPath:
		return Violation{}, fmt.Errorf("path has %d bytes: send at most %d", len(path), maxPath)
	case path != "" && !strings.HasPrefix(path, "/"):
		return Violation{}, fmt.Errorf("path %q does not begin with /: send the path alone, such as /login", shorten(path))
	case strings.ContainsFunc(path, unicode.IsControl):
		return Violation{}, errors.New("path has control characters: send it as it was requested")
	case len(r.RequestID) > maxRequestID || strings.ContainsFunc(r.RequestID, isForbiddenInRequestID):
		return Violation{}, errors.New("request_id is too long or has forbidden characters: send X-Request-ID as you received it")
	}
	return Violation{Address: addr, Name: r.Violation, Path: path, RequestID: r.RequestID}, nil
}

// isForbiddenInRequestID reports whether no request ID of ours has c.
func isForbiddenInRequestID(c rune) bool { return c <= ' ' || c > '~' }
