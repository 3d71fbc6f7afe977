package handler

import (
	"fmt"
	"net/http"
	stdruntime "runtime"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// paths matches what Caddy's matcher `path` does, in a time that hardly grows with the number of patterns: a site asks
// for dozens on each request. Patterns that need more than a comparison are left to Caddy.
type paths struct {
	all        bool // `*`
	exact      map[string]struct{}
	extensions map[string]struct{} // with their dot, such as `*.map`
	prefixes   []string
	suffixes   []string
	parts      []string
	others     caddyhttp.MatchPath
}

func newPaths(patterns []string) *paths {
	if len(patterns) == 0 {
		return nil
	}
	p := &paths{exact: make(map[string]struct{}), extensions: make(map[string]struct{})}
	for _, pattern := range patterns {
		lower := strings.ToLower(pattern)
		stars, begins, ends := strings.Count(lower, "*"), strings.HasPrefix(lower, "*"), strings.HasSuffix(lower, "*")
		switch {
		case lower == "*":
			p.all = true
		case strings.ContainsAny(pattern, `{%?[\`) || strings.Contains(pattern, "//") || stdruntime.GOOS == "windows":
			p.others = append(p.others, pattern)
		case stars == 0:
			p.exact[lower] = struct{}{}
		case stars == 1 && strings.HasPrefix(lower, "*.") && strings.LastIndexAny(lower, "./") == 1:
			p.extensions[lower[1:]] = struct{}{}
		case stars == 1 && begins:
			p.suffixes = append(p.suffixes, lower[1:])
		case stars == 1 && ends:
			p.prefixes = append(p.prefixes, lower[:len(lower)-1])
		case stars == 2 && begins && ends:
			p.parts = append(p.parts, lower[1:len(lower)-1])
		default:
			p.others = append(p.others, pattern)
		}
	}
	_ = p.others.Provision(caddy.Context{}) // makes them lower case
	return p
}

// cleaned returns the path of a request as patterns are compared with.
func cleaned(r *http.Request) string { return caddyhttp.CleanPath(strings.ToLower(r.URL.Path), true) }

// match reports whether the path of r, which is given as cleaned, is one of those.
func (p *paths) match(r *http.Request, path string) bool {
	if p.all || p.matchText(path) {
		return true
	}
	return p.others != nil && p.others.Match(r)
}

// matchText is match without the patterns that are left to Caddy.
func (p *paths) matchText(path string) bool {
	if _, ok := p.exact[path]; ok {
		return true
	}
	if dot := strings.LastIndexByte(path, '.'); dot >= 0 && len(p.extensions) > 0 {
		if _, ok := p.extensions[path[dot:]]; ok {
			return true
		}
	}
	for _, prefix := range p.prefixes {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	for _, suffix := range p.suffixes {
		if strings.HasSuffix(path, suffix) {
			return true
		}
	}
	for _, part := range p.parts {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

// checkPaths reports patterns that can never hold, or that are given twice. The option is `path` or `not_path`.
func checkPaths(option string, patterns []string) error {
	for i, pattern := range patterns {
		switch {
		case pattern == "":
			return fmt.Errorf("%s has an empty value: give paths, such as /wp-login.php", option)
		case strings.ContainsAny(pattern, "?#"):
			return fmt.Errorf("%s %s can never hold: the query is no part of the path; use a named matcher with `query`",
				option, pattern)
		case !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, "*") && !strings.HasPrefix(pattern, "{"):
			return fmt.Errorf("%s %s can never hold, since a path begins with /: write /%[2]s, or *%[2]s for all that end so",
				option, pattern)
		case !strings.ContainsAny(pattern, "*{%") &&
			caddyhttp.CleanPath(pattern, !strings.Contains(pattern, "//")) != pattern:
			return fmt.Errorf("%s %s can never hold, since paths are cleaned before they are compared: write %s",
				option, pattern, caddyhttp.CleanPath(pattern, true))
		case slices.ContainsFunc(patterns[:i], func(other string) bool { return strings.EqualFold(other, pattern) }):
			return fmt.Errorf("%s %s is given twice: remove one", option, pattern)
		case option == "not_path" && pattern == "*":
			return fmt.Errorf("not_path * leaves no path: remove it")
		}
	}
	return nil
}

// covered returns the first of the patterns all of whose paths are excluded, or the empty string. The stars of a
// pattern are compared like letters: what excludes a pattern so excludes all paths that it stands for.
func covered(patterns, excluded []string) string {
	if len(excluded) == 0 {
		return ""
	}
	not := newPaths(excluded)
	for _, pattern := range patterns {
		if not.matchText(strings.ToLower(pattern)) {
			return pattern
		}
	}
	return ""
}
