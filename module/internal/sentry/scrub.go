package sentry

import (
	"regexp"
	"strings"

	sdk "github.com/getsentry/sentry-go"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
)

// maxTag is how much of a tag is sent, in bytes. Sentry refuses tags of more than 200 characters.
const maxTag = 190

// hidden replaces a secret.
const hidden = "[hidden]"

// secrets are the patterns of secrets in texts, and what replaces them.
var secrets = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*`), hidden},
	// URLs, connection strings
	{regexp.MustCompile(`(://)[^\s"'<>]*@`), "$1" + hidden + "@"},
	{regexp.MustCompile(`(://[^\s"'<>?#]*)[?#][^\s"'<>]*`), "$1?" + hidden},
	{regexp.MustCompile(`(^|[\s"'(=])(/[^\s"'<>?]*)\?[^\s"'<>]+`), "$1$2?" + hidden},
	{regexp.MustCompile(`[\w.+-]+:[^\s:@/"']+@`), hidden + "@"},
	// headers
	{regexp.MustCompile(`(?i)\b(authorization|cookie|set-cookie|x-api-key|x-sentry-auth|x-vault-token|key)(["'\]]*\s*:\s*["'\[]+)[^"'\]\r\n]*`), "$1$2" + hidden},
	{regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:key|token|auth))(\s*:\s*)[^\s\["'][^\r\n"']*`), "$1$2" + hidden},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}`), "$1 " + hidden},
	// pairs
	{regexp.MustCompile(`(?i)\b([\w-]*(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|credentials?|signature|dsn))(["']?\s*=\s*|["']\s*:\s*)("[^"]*"|'[^']*'|[^\s,;&"']+)`), "$1$2" + hidden},
	{regexp.MustCompile(`(?i)\b(key|auth|sig)=("[^"]*"|'[^']*'|[^\s,;&"']+)`), "$1=" + hidden},
	{regexp.MustCompile(`(?i)\b(password|passwd|passphrase|pwd|api[_-]?key)(\s*:\s*)[^\s,;&"']+`), "$1$2" + hidden},
	// what is known by its form
	{regexp.MustCompile(`\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*`), hidden},
	{regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`), hidden},
	{regexp.MustCompile(`\bhv[sbr]\.[\w-]{16,}`), hidden},
}

// Redact removes from a text what looks like a secret: credentials and queries of URLs, passwords of
// connection strings, values named password, token or key, and tokens of headers. Addresses stay.
func Redact(text string) string {
	for _, s := range secrets {
		text = s.pattern.ReplaceAllString(text, s.instead)
	}
	return text
}

// secretName matches names of attributes whose value is always a secret.
var secretName = regexp.MustCompile(`(?i)(password|passwd|token|authorization|cookie|credential|api_?key|dsn|private_?key|signature)`)

// scrub removes secrets from a text and shortens it to size bytes.
func (o Options) scrub(text string, size int) string {
	return cut(strings.ToValidUTF8(o.Scrub(Redact(cut(text, maxInput))), "\uFFFD"), size)
}

// beforeSend removes secrets from all parts of a report, and everything that the SDK may have added.
func (o Options) beforeSend(event *sdk.Event, _ *sdk.EventHint) *sdk.Event {
	event.Message = o.scrub(event.Message, maxText)
	for i := range event.Fingerprint {
		event.Fingerprint[i] = o.scrub(event.Fingerprint[i], maxText)
	}
	for name, value := range event.Tags {
		event.Tags[name] = o.scrub(foreign.Line(value, len(value)), maxTag)
	}
	for _, context := range event.Contexts {
		for name, value := range context {
			text, ok := value.(string)
			switch {
			case ok && secretName.MatchString(name):
				context[name] = hidden
			case ok:
				context[name] = o.scrub(text, maxText)
			}
		}
	}
	for i := range event.Exception {
		exception := &event.Exception[i]
		exception.Value = o.scrub(exception.Value, maxText)
		if exception.Stacktrace == nil {
			continue
		}
		for j := range exception.Stacktrace.Frames {
			exception.Stacktrace.Frames[j].Vars = nil
		}
	}
	event.ServerName = o.ServerName // the SDK puts in the name of the host where there is none
	event.Request, event.Modules, event.Breadcrumbs, event.Attachments = nil, nil, nil, nil
	event.User = sdk.User{}
	return event
}
