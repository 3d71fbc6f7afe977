package handler

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// page is what a visitor sees whose request was refused, where the site has no page of its own. It names the request,
// so that the visitor can quote it, and nothing of what is known or decided.
type page struct {
	status     int
	title      string
	detail     string
	requestID  string // has no character that HTML or JSON would have to escape
	retryAfter int    // seconds; 0: does not matter
}

func newPage(v *visit, left limit.Decision) *page {
	status := int(v.decision.statusCode)
	p := &page{status: status, title: http.StatusText(status), requestID: v.requestID}
	if p.title == "" {
		p.title = "Request Refused"
	}
	switch {
	case v.known != nil:
		p.detail = "The connection was not ready. Please reload the page."
	case v.decision.action == reputation.Limit:
		p.retryAfter = left.RetryAfterSeconds()
		p.detail = fmt.Sprintf("You have sent too many requests. Please try again in %s.", seconds(p.retryAfter))
	default:
		p.detail = "This request was refused. If you think that this is a mistake, " +
			"please contact the site and quote the request ID."
	}
	return p
}

// seconds writes a time as people say it, never shorter than it is.
func seconds(n int) string {
	unit := "second"
	switch {
	case n >= 2*3600:
		n, unit = (n+3599)/3600, "hour"
	case n >= 120:
		n, unit = (n+59)/60, "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return strconv.Itoa(n) + " " + unit
}

// write sends the page in the form that the client prefers.
func (p *page) write(w http.ResponseWriter, r *http.Request) error {
	mediaType := preferred(r.Header["Accept"])
	body := p.text()
	switch mediaType {
	case typeHTML:
		body = p.html()
	case typeProblem:
		body = p.problem()
	}
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Language", "Etag", "Last-Modified", "Accept-Ranges"} {
		delete(h, name) // of the page that was asked for
	}
	h["Content-Type"] = []string{mediaType}
	if mediaType != typeProblem { // JSON is always UTF-8
		h["Content-Type"] = []string{mediaType + "; charset=utf-8"}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h.Add("Vary", "Accept")
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body) //nolint:gosec // of the visitor's it holds a request ID, of harmless characters
	}
	return nil
}

func (p *page) text() string {
	return fmt.Sprintf("%d %s\n\n%s\n\nRequest ID: %s\n", p.status, p.title, p.detail, p.requestID)
}

func (p *page) html() string {
	return fmt.Sprintf(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>%[1]d %[2]s</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem }
</style>
</head>
<body>
<h1>%[1]d %[2]s</h1>
<p>%[3]s</p>
<p>Request ID: <code>%[4]s</code></p>
</body>
</html>
`, p.status, p.title, p.detail, p.requestID)
}

// problem is the page for programs (RFC 9457).
func (p *page) problem() string {
	retry := ""
	if p.retryAfter > 0 {
		retry = fmt.Sprintf(`,"retry_after":%d`, p.retryAfter)
	}
	return fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":%q,"request_id":%q%s}`+"\n",
		p.title, p.status, p.detail, p.requestID, retry)
}

// The forms of the page. The first is for clients that have no preference.
const (
	typeText    = "text/plain"
	typeHTML    = "text/html"
	typeProblem = "application/problem+json"
)

// maxAccept is how much of an Accept field is read.
const maxAccept = 1024

// preferred returns the form that an Accept field asks for: of the types that it names, the one with the highest
// weight, of equal ones the first.
func preferred(accept []string) string {
	text := strings.Join(accept, ",")
	text = strings.ToLower(text[:min(len(text), maxAccept)])
	best, highest := typeText, 0.0
	for item := range strings.SplitSeq(text, ",") {
		name, parameters, _ := strings.Cut(item, ";")
		form := formOf(strings.TrimSpace(name))
		if weight := weightOf(parameters); form != "" && weight > highest {
			best, highest = form, weight
		}
	}
	return best
}

// formOf returns the form for a media range, or the empty string.
func formOf(name string) string {
	switch {
	case name == typeText || name == "text/*" || name == "*/*":
		return typeText
	case name == typeHTML || name == "application/xhtml+xml":
		return typeHTML
	case name == "application/json" || name == "application/*" || strings.HasSuffix(name, "+json"):
		return typeProblem
	}
	return ""
}

// weightOf returns the weight among the parameters of a media range: 1 unless there is another.
func weightOf(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
			weight, err := strconv.ParseFloat(value, 64)
			if err != nil || !(weight >= 0 && weight <= 1) {
				return 0
			}
			return weight
		}
	}
	return 1
}
