package rest

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxQuote is how much of the service's text an error quotes, in bytes.
const maxQuote = 200

// The path of the API and the parts of a key are searched for only if they have this length.
// Shorter ones, such as "api", are not secret and occur in harmless texts.
const minPath, minPart = 6, 4

// minRun is how many characters of the key in a row are a leak: services cut keys short in their texts.
const minRun = 8

// maxEncoded is how many layers of percent-encoding are looked through.
const maxEncoded = 4

// Quote returns a text of the service for the end of an error, as ": text" in printable ASCII, 200
// characters at most. It returns "" if the text is empty, or if it repeats the key, an address
// that was asked about or the API's address.
func (a *Response) Quote(text string) string {
	if int64(len(text)) > a.maxBody() {
		return ""
	}
	text = ascii(text)
	if text == "" || a.leaks(text) {
		return ""
	}
	// shorten it last, so that a secret is not overlooked because it was cut
	return ": " + text[:min(len(text), maxQuote)]
}

// ascii replaces all but printable ASCII by spaces.
func ascii(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, text))
}

// leaks reports whether a text has the key, a visitor's address in any spelling, or the address of
// the API, as they are or percent-encoded: a service that has the key in its path may repeat that path.
func (a *Response) leaks(text string) bool {
	for range maxEncoded {
		if a.repeats(strings.ToLower(text)) {
			return true
		}
		plain := percentDecoded(text)
		if plain == text {
			return false
		}
		text = plain
	}
	return true // nothing harmless is encoded so often
}

// repeats reports whether a text in lower case has one of the secrets as it is.
func (a *Response) repeats(text string) bool {
	for _, secret := range a.secrets() {
		if secret != "" && strings.Contains(text, strings.ToLower(secret)) {
			return true
		}
	}
	key := strings.ToLower(a.question.key)
	for i := 0; i+minRun <= len(key); i++ {
		if strings.Contains(text, key[i:i+minRun]) {
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

// percentDecoded replaces every percent-encoded byte of a text, and leaves all else as it is.
func percentDecoded(text string) string {
	return encodedByte.ReplaceAllStringFunc(text, func(code string) string {
		b, _ := strconv.ParseUint(code[1:], 16, 8)
		return string([]byte{byte(b)})
	})
}

var encodedByte = regexp.MustCompile("%[0-9A-Fa-f]{2}")

// secrets returns everything that must not be logged, in the spellings in which it is sent.
func (a *Response) secrets() []string {
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
