package module

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/preset"
)

// A word of `exempt`, `deny` and `feed` stands for ranges, a file, a URL or a preset. Its form decides, so
// that a misspelt preset is not taken for a file.

func isURL(word string) bool {
	scheme, _, ok := strings.Cut(word, "://")
	return ok && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http"))
}

// isFile reports whether a word is a path: with a separator, so that a misspelt preset is not taken for a file. What
// begins with an address is a range, if perhaps a wrong one.
func isFile(word string) bool {
	before, _, isPath := strings.Cut(filepath.ToSlash(word), "/")
	_, err := netip.ParseAddr(before)
	return isPath && err != nil && !strings.Contains(word, "://")
}

// checkPath refuses paths that only a shell would expand.
func checkPath(path string) error {
	switch {
	case strings.HasPrefix(path, "~"):
		return fmt.Errorf("file %q: ~ is not expanded: write the whole path, such as /etc/caddy/%s", path, filepath.Base(path))
	case strings.ContainsAny(path, "*?"):
		return fmt.Errorf("file %q: patterns are not expanded: name each file", path)
	}
	return nil
}

// aURL is the cure for a word that is missing the scheme of a URL, empty for others.
func aURL(word string) string {
	host, _, _ := strings.Cut(word, "/")
	dot := strings.LastIndexByte(host, '.')
	isLetter := func(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }
	domain := host[dot+1:]
	if dot < 1 || len(domain) < 2 || strings.IndexFunc(domain, func(r rune) bool { return !isLetter(r) }) >= 0 {
		return ""
	}
	return "; a URL begins with https://: https://" + word
}

// notASource says what a word could have been.
func notASource(word string) error {
	if word == verifiedBots {
		return fmt.Errorf("%s is no list: it stands behind `exempt` in the global options, on a line of its own; in JSON "+
			"name the bots in `verified_bots`", word)
	}
	if scheme, _, ok := strings.Cut(word, "://"); ok {
		return fmt.Errorf("%q cannot be fetched: write https:// or http:// for %s://", word, scheme)
	}
	hint := "docs/sources.md has the presets"
	if near := preset.Near(word); len(near) > 0 {
		hint = "a preset is named " + strings.Join(near, ", ")
	}
	return fmt.Errorf("%q is no preset, address, range, file or URL: %s; a file in the working directory is ./%s%s",
		word, hint, word, aURL(word))
}

// parseValues returns the ranges and the autonomous systems that a list is made of.
func parseValues(option string, words []string) (values []netip.Prefix, asns []uint32, err error) {
	for i, word := range words {
		if asn, ok := address.ParseASN(word); ok && strings.Trim(word, "0123456789") != "" {
			asns = append(asns, asn)
			continue
		}
		prefixes, ok, err := address.ParseRanges(word)
		_, isPreset := preset.Find(word)
		switch {
		case err != nil:
			return nil, nil, err
		case !ok && i > 0 && (isPreset || isURL(word) || isFile(word)):
			return nil, nil, fmt.Errorf("source %s is not a range, as the first one is: give each kind its own %s", shown(word), option)
		case !ok:
			return nil, nil, notASource(word)
		}
		values = append(values, prefixes...)
	}
	return values, asns, nil
}

// ofValues reports whether the configuration itself has the list.
func ofValues(spec *feed.Spec) bool { return spec.Values != nil || spec.ASNValues != nil }

// fileListName names the list in a file after the file, with a hash where another list has that name already.
func fileListName(option, path string, others []configuredList) string {
	base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	safe := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, strings.ToLower(base))
	name := option + "_" + safe[:min(len(safe), 40)]
	if slices.ContainsFunc(others, func(l configuredList) bool { return l.spec.Name == name }) {
		name += "_" + shortHash(path)
	}
	return name
}

// shortHash names a list that has no name.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
