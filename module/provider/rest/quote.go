package rest

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxQuote is how much of the service's text an error quotes, in bytes.
const maxQuote = 200

// The path of the API and the parts of a key are searched for only if they have this length.
// Shorter ones, such as "api", are not secret and occur in harmless texts.
const minPath, minPart = 6, 4

// Quote returns a text of the service for the end of an error, as ": text" in printable ASCII, 200
// characters at most. It returns "" if the text is empty, or if it repeats the key, an address
// that was asked about or the API's address.
func (a *Answer) Quote(text string) string {
	if int64(len(text)) > a.maxBody() {
		return ""
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, text)
	text = strings.TrimSpace(text)
	if text == "" || a.leaks(text) {
		return ""
	}
	// shorten it last, so that a secret is not overlooked because it was cut
	return ": " + text[:min(len(text), maxQuote)]
}

// leaks reports whether a text has the key, a visitor's address in
// any spelling, or the address of the API.
func (a *Answer) leaks(text string) bool {
	text = strings.ToLower(text)
	for _, secret := range a.secrets() {
		if secret != "" && strings.Contains(text, strings.ToLower(secret)) {
			return true
		}
	}
	subjects := make(map[netip.Prefix]bool, len(a.question.addrs))
	for _, addr := range a.question.addrs {
		subjects[reputation.Subject(addr)] = true
	}
	notAddress := func(r rune) bool { return !strings.ContainsRune("0123456789abcdef:.", r) }
	for word := range strings.FieldsFuncSeq(text, notAddress) {
		for _, spelling := range []string{word, strings.Trim(word, ":.")} {
			if found, err := netip.ParseAddr(spelling); err == nil && subjects[reputation.Subject(found.Unmap())] {
				return true
			}
		}
	}
	return false
}

// secrets returns everything that must not be logged, in the spellings in which it is sent.
func (a *Answer) secrets() []string {
	key, base := a.question.key, a.endpoint.base
	first, second, _ := strings.Cut(key, ":")
	list := []string{base.Host}
	for _, addr := range a.question.addrs {
		list = append(list, addr.String(), url.QueryEscape(addr.String()))
	}
	if path := strings.Trim(base.Path, "/"); len(path) >= minPath {
		list = append(list, path)
	}
	for _, k := range []string{key, first, second} {
		if len(k) < minPart && k != key {
			continue
		}
		list = append(list, k, url.QueryEscape(k), url.PathEscape(k),
			base64.StdEncoding.EncodeToString([]byte(k)))
	}
	return list
}
