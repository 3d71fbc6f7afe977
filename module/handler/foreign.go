package handler

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// foreign returns what shows that the visitor did not ask for r, or the empty string. The page of another site has made
// the browser ask, a page of any site embeds what r asks for, or the browser fetches it ahead.
//
// Anybody can send these fields, and so escape: that is better than that anybody can have others banned, by an image
// on a page of theirs. A page of a sibling site, such as login.example.com for app.example.com, is not foreign.
func foreign(r *http.Request) string {
	h := r.Header
	if fetchedAhead(h) {
		return "prefetch"
	}
	if dest := h.Get("Sec-Fetch-Dest"); dest != "" && !slices.Contains(ownDestinations, strings.ToLower(dest)) {
		return "embedded"
	}
	switch strings.ToLower(h.Get("Sec-Fetch-Site")) {
	case "cross-site":
		return "cross-site"
	case "": // an old browser, or no encryption
		switch origin := h.Get("Origin"); {
		case isOtherHost(h.Get("Referer"), r.Host):
			return "referer"
		case origin == "null" || isOtherHost(origin, r.Host): // a form of another page, which may hide the Referer
			return "origin"
		case isPart(h.Get("Accept")):
			return "embedded"
		}
	}
	return ""
}

// foreignToTraps is foreign for traps, to which no honest page leads: there, a page of a sibling site is foreign, too.
// Where users have sites of their own, such as alice.example.com, one of them may send visitors to a trap.
func foreignToTraps(r *http.Request) string {
	if by := foreign(r); by != "" {
		return by
	}
	if strings.EqualFold(r.Header.Get("Sec-Fetch-Site"), "same-site") {
		return "same-site"
	}
	return ""
}

// isPart reports whether a browser asks for a part of a page, by what it would rather have.
func isPart(accept string) bool {
	for _, kind := range [...]string{"image/", "text/css", "video/", "audio/", "font/"} {
		if len(accept) >= len(kind) && strings.EqualFold(accept[:len(kind)], kind) {
			return true
		}
	}
	return false
}

// ownDestinations are what a visitor or the site's own script asks for. Anything else is embedded in a page: an image,
// a script, a style, a frame.
var ownDestinations = []string{"document", "empty"}

// fetchedAhead reports whether a browser has asked before its visitor has.
func fetchedAhead(h http.Header) bool {
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		value := strings.ToLower(h.Get(name))
		if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
			return true
		}
	}
	return false
}

// isOtherHost reports whether a Referer or an Origin names another host than the request's. What is no URL of a host
// says nothing.
func isOtherHost(referer, host string) bool {
	if referer == "" {
		return false
	}
	from, err := url.Parse(referer)
	if err != nil || from.Hostname() == "" {
		return false
	}
	own := url.URL{Host: host}
	return !strings.EqualFold(strings.TrimSuffix(from.Hostname(), "."), strings.TrimSuffix(own.Hostname(), "."))
}
