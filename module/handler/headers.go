package handler

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The headers, in canonical form so that they can be assigned without looking at every letter again.
const (
	headerScore      = "X-Ip-Reputation-Score"
	headerStatus     = "X-Ip-Reputation-Status"
	headerAction     = "X-Ip-Reputation-Action"
	headerCategories = "X-Ip-Reputation-Categories"
	headerReasons    = "X-Ip-Reputation-Reasons"
	headerCoverage   = "X-Ip-Reputation-Coverage"
	headerCountry    = "X-Ip-Reputation-Country"
	headerASN        = "X-Ip-Reputation-Asn"
	headerNature     = "X-Ip-Reputation-Nature"
	headerBot        = "X-Ip-Reputation-Bot"
	headerRequestID  = "X-Request-Id"

	// headerViolation is what an application says with a response; it is never sent.
	headerViolation = "X-Ip-Reputation-Violation"

	// numHeaders is the number of values in a visit: those above, and the request ID once more for the response.
	numHeaders = 12
)

// detail is how many headers an application gets.
type detail uint8

const (
	full detail = iota
	minimal
	off
)

func parseDetail(word string) (detail, error) {
	switch word {
	case "", "full":
		return full, nil
	case "minimal":
		return minimal, nil
	case "off":
		return off, nil
	}
	return 0, fmt.Errorf("unknown headers %q: use full, minimal or off", word)
}

// stripHeaders removes what the client sent under our names: headers and trailers in every spelling that some backend
// takes for ours, and `Connection` tokens that would make a proxy behind us remove what we set.
func stripHeaders(r *http.Request) {
	for name := range r.Header {
		if isOurs(name) {
			delete(r.Header, name)
		}
	}
	if tokens := r.Header["Connection"]; tokens != nil {
		stripTokens(r.Header, "Connection", tokens)
	}
	// a trailer arrives with the end of the body: HTTP/1.1 brings any that the client cares to send
	if r.Trailer != nil || r.ContentLength < 0 {
		stripTrailers(r)
	}
}

// isOurs reports whether a header has one of our names to at least one kind of backend: CGI and WSGI take `_`
// for `-`, PHP also takes `.` for it, and lighttpd hands every character that is neither letter nor digit to
// CGI programs as `_`.
func isOurs(name string) bool {
	const prefix, id = "x-ip-reputation", "x-request-id"
	if len(name) < len(id) || name[0]|0x20 != 'x' {
		return false
	}
	return likeName(name[:min(len(prefix), len(name))], prefix) ||
		len(name) == len(id) && name != headerRequestID && likeName(name, id)
}

// likeName reports whether a is b, which is in lower case, but for case and for what backends take for a hyphen.
func likeName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(b) {
		c := a[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			c = '-'
		}
		if c != b[i] {
			return false
		}
	}
	return true
}

// stripTokens removes our names from a header that lists names.
func stripTokens(h http.Header, key string, values []string) {
	named := false
	for _, value := range values {
		for token := range strings.SplitSeq(value, ",") {
			named = named || isProtected(token)
		}
	}
	if !named {
		return
	}
	kept := make([]string, 0, len(values))
	for _, value := range values {
		for token := range strings.SplitSeq(value, ",") {
			if token = strings.TrimSpace(token); token != "" && !isProtected(token) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, key)
		return
	}
	h[key] = []string{strings.Join(kept, ", ")}
}

// isProtected reports whether a token names a header that we set.
func isProtected(token string) bool {
	token = strings.TrimSpace(token)
	return isOurs(token) || strings.EqualFold(token, headerRequestID)
}

// stripTrailers removes our names from the announced trailers now, and from all trailers once the body has been read.
func stripTrailers(r *http.Request) {
	removeTrailers(r)
	if tokens := r.Header["Trailer"]; tokens != nil {
		stripTokens(r.Header, "Trailer", tokens)
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &trailerGuard{ReadCloser: r.Body, request: r}
	}
}

func removeTrailers(r *http.Request) {
	for name := range r.Trailer {
		if isProtected(name) {
			delete(r.Trailer, name)
		}
	}
}

// trailerGuard removes our names from the trailers that came with the end of a body.
type trailerGuard struct {
	io.ReadCloser
	request *http.Request
}

func (g *trailerGuard) Read(p []byte) (int, error) {
	n, err := g.ReadCloser.Read(p)
	if err != nil {
		removeTrailers(g.request)
	}
	return n, err
}

// describe sets our headers on the request. The values stand in the visit's own array: later handlers may change them
// there without touching another request's.
func (v *visit) describe(r *http.Request, d detail) {
	v.set(r.Header, 0, headerRequestID, v.requestID)
	if d == off {
		return
	}
	verdict := &v.verdict
	v.set(r.Header, 1, headerStatus, verdict.Status.String())
	v.set(r.Header, 2, headerAction, v.actionHeader())
	if verdict.Scored {
		v.set(r.Header, 3, headerScore, scoreText[min(verdict.Score, 100)])
	}
	if d == minimal {
		return
	}
	v.set(r.Header, 4, headerCoverage, coverageText(verdict.Coverage))
	if c := verdict.Facts.Country; c != "" {
		v.set(r.Header, 5, headerCountry, c)
	}
	if asn := verdict.Facts.ASN; asn != 0 {
		v.set(r.Header, 6, headerASN, strconv.FormatUint(uint64(asn), 10))
	}
	if n := verdict.Facts.Nature; n.Some() {
		v.set(r.Header, 7, headerNature, n.String())
	}
	if verdict.Categories != 0 {
		v.set(r.Header, 8, headerCategories, verdict.Categories.String())
	}
	if len(verdict.Reasons) > 0 {
		v.set(r.Header, 9, headerReasons, reasonsText(verdict))
	}
	if bot := verdict.Facts.Bot; bot != "" {
		v.set(r.Header, 10, headerBot, bot)
	}
}

// set puts a value into its place in the visit and from there into the headers.
func (v *visit) set(h http.Header, place int, name, value string) {
	v.header[place] = value
	h[name] = v.header[place : place+1 : place+1]
}

// requestIDHeader returns the value for the response's `X-Request-ID`.
func (v *visit) requestIDHeader() []string {
	v.header[numHeaders-1] = v.requestID
	return v.header[numHeaders-1 : numHeaders : numHeaders]
}

// actionHeader returns the action, marked when it is only what would have happened.
func (v *visit) actionHeader() string {
	if v.decision.enforce {
		return actionText[v.decision.action][1]
	}
	return actionText[v.decision.action][0]
}

// reasonsText returns the reasons as they stand in headers, placeholders and logs.
func reasonsText(v *reputation.Verdict) string {
	var room [256]byte
	return string(appendReasons(room[:0], v))
}

// appendReasons appends the reasons as a list of tokens with parameters (RFC 9651).
func appendReasons(b []byte, v *reputation.Verdict) []byte {
	reasons := v.Reasons
	for i := range reasons {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, reasons[i].Source...)
		b = append(b, ";points="...)
		b = strconv.AppendFloat(b, reasons[i].Points, 'f', 1, 64)
		if age := reasons[i].Age; age > 0 {
			b = append(b, ";age="...)
			b = strconv.AppendInt(b, int64(age/time.Second), 10)
		}
		if reasons[i].Network {
			b = append(b, ";network"...)
		}
		if reasons[i].Source == reputation.SourceVerifiedBots {
			b = append(append(b, ";bot="...), v.Facts.Bot...)
		}
	}
	return b
}

// The values that are always the same.
var (
	scoreText    = numbers(strconv.Itoa)
	coverageList = numbers(func(i int) string { return fmt.Sprintf("%d.%02d", i/100, i%100) })
	actionText   = func() (texts [reputation.NumActions][2]string) {
		for a := range texts {
			word := reputation.Action(a).String()
			texts[a] = [2]string{word + ";mode=observe", word}
		}
		return texts
	}()
)

// numbers returns the texts of 0 to 100.
func numbers(text func(int) string) (texts [101]string) {
	for i := range texts {
		texts[i] = text(i)
	}
	return texts
}

// coverageText returns a share between 0 and 1 with two decimals. A share that is not whole never reads as such.
func coverageText(share float64) string {
	i := int(share*100 + 0.5)
	if share < 1 {
		i = min(i, 99)
	}
	return coverageList[min(max(i, 0), 100)]
}
