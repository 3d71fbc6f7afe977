package handler

import (
	"fmt"
	"net/http"
	"path"
	stdruntime "runtime"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// paths matches what Caddy's matcher `path` does, for sites that have dozens of patterns: the path of a request is cleaned
// once, and whole paths and extensions are looked up. Patterns that need more than a comparison are left to Caddy.
type paths struct {
	all        bool // `*`
	exact      map[string]struct{}
	extensions map[string]struct{} // with their dot, such as `*.map`
	prefixes   []string
	suffixes   []string
	parts      []string
	others     caddyhttp.MatchPath
}

// newPaths compiles patterns, and returns nil if there are none.
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
		case strings.ContainsAny(pattern, `{%?[\`) || strings.Contains(pattern, "//"):
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
	if stdruntime.GOOS == "windows" {
		p.others = slices.Clone(patterns) // Caddy knows which spellings of a path are one file there
	}
	_ = p.others.Provision(caddy.Context{}) // makes them lower case
	return p
}

// cleaned returns the path of a request in the form that patterns are compared with.
func cleaned(r *http.Request) string { return caddyhttp.CleanPath(strings.ToLower(r.URL.Path), true) }

// match reports whether the path of r matches one of the patterns. path is cleaned(r).
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

// checkPaths reports patterns that can never match, or that are written twice. The condition is `path` or `not_path`.
func checkPaths(condition string, patterns []string) error {
	for i, pattern := range patterns {
		if err := checkPath(condition, pattern); err != nil {
			return err
		}
		if slices.ContainsFunc(patterns[:i], func(other string) bool { return strings.EqualFold(other, pattern) }) {
			return writtenTwice(condition, pattern)
		}
	}
	return nil
}

func checkPath(condition, p string) error {
	switch {
	case p == "":
		return fmt.Errorf(`%s "": write one that begins with a slash, such as /login`, condition)
	case strings.HasPrefix(p, "{"):
		return nil
	case strings.Contains(p, "?"):
		return fmt.Errorf("%s %q has a query, which is no part of the path: "+
			"write the path alone, and use a named matcher with `query` for the rest", condition, p)
	case strings.HasPrefix(p, "*"):
		return nil
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("%s %q never holds, because paths begin with a slash: write %q, or %q for what ends so",
			condition, p, "/"+p, "*"+p)
	}
	if clean := caddyhttp.CleanPath(p, !strings.Contains(p, "//")); clean != p {
		return fmt.Errorf("%s %q never holds, because the request's path is cleaned first: write %q", condition, p, clean)
	}
	if _, err := path.Match(p, ""); err != nil && !strings.HasSuffix(p, "*") {
		return fmt.Errorf(`%s %q never holds, because [ begins a set of characters: write \\[ for the character`, condition, p)
	}
	return nil
}

// isEveryPath reports whether all paths match a pattern.
func isEveryPath(pattern string) bool {
	return pattern == "/*" || pattern != "" && strings.Trim(pattern, "*") == ""
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
