package rest

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxQuote bounds what an error quotes of the service's own words, in bytes.
const maxQuote = 200

// What is shorter is no secret, and occurs in harmless words: the path of the API, such as "api", and each part of a key.
const minPath, minPart = 6, 4

// Quote returns the service's own words for the end of an error, as ": words" in printable ASCII, 200 characters at most. It
// returns nothing when there are none, or when they repeat the key, the address that was asked about or the API's address.
func (a *Answer) Quote(words string) string {
	if int64(len(words)) > a.endpoint.api.MaxBody {
		return ""
	}
	words = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, words)
	words = strings.TrimSpace(words)
	if words == "" || a.betrays(words) {
		return ""
	}
	// cut last, so that nothing is looked for in half a word
	return ": " + words[:min(len(words), maxQuote)]
}

// betrays reports whether words hold the key, the visitor's address in any spelling, or the address of the API.
func (a *Answer) betrays(words string) bool {
	words = strings.ToLower(words)
	for _, secret := range a.secrets() {
		if secret != "" && strings.Contains(words, strings.ToLower(secret)) {
			return true
		}
	}
	subject := reputation.Subject(a.query.Addr)
	notAddress := func(r rune) bool { return !strings.ContainsRune("0123456789abcdef:.", r) }
	for word := range strings.FieldsFuncSeq(words, notAddress) {
		for _, spelling := range []string{word, strings.Trim(word, ":.")} {
			if found, err := netip.ParseAddr(spelling); err == nil && subject.Contains(found.Unmap()) {
				return true
			}
		}
	}
	return false
}

// secrets returns what must not be logged, in the spellings in which it is sent.
func (a *Answer) secrets() []string {
	key, addr, base := a.query.Key, a.query.Addr.String(), a.endpoint.base
	first, second, _ := strings.Cut(key, ":")
	list := []string{addr, url.QueryEscape(addr), base.Host}
	if path := strings.Trim(base.Path, "/"); len(path) >= minPath {
		list = append(list, path)
	}
	for _, k := range []string{key, first, second} {
		if len(k) < minPart && k != key {
			continue
		}
		list = append(list, k, url.QueryEscape(k), url.PathEscape(k), base64.StdEncoding.EncodeToString([]byte(k)))
	}
	return list
}
