package module

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// A word of `exempt`, `deny` and `feed` stands for ranges, a file, a URL or a preset. It is told by its form, so that a
// misspelt one is not taken for something else.

// privateRanges are what `private_ranges` means in Caddy, and what no Internet visitor has besides.
var privateRanges = func() (list []netip.Prefix) {
	for _, text := range []string{
		"192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.1/8", "100.64.0.0/10", "169.254.0.0/16",
		"fd00::/8", "fe80::/10", "::1/128",
	} {
		list = append(list, netip.MustParsePrefix(text).Masked())
	}
	return list
}()

// parseValues returns the ranges that a word stands for, if it is an address, a CIDR range or `private_ranges`. Something
// that is meant as a range but is none is an error.
func parseValues(word string) ([]netip.Prefix, bool, error) {
	if word == "private_ranges" {
		return privateRanges, true, nil
	}
	if addr, err := netip.ParseAddr(word); err == nil {
		if addr.Zone() != "" {
			return nil, false, fmt.Errorf("address %q has a zone: leave %q out", word, "%"+addr.Zone())
		}
		addr = addr.Unmap()
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, true, nil
	}
	if prefix, err := netip.ParsePrefix(word); err == nil {
		if err := checkHostBits(prefix, word); err != nil {
			return nil, false, err
		}
		return []netip.Prefix{prefix}, true, nil
	}
	if addr, _, isRange := strings.Cut(word, "/"); isRange {
		if _, addrErr := netip.ParseAddr(addr); addrErr == nil {
			return nil, false, fmt.Errorf("%q is not a CIDR range: the number behind the slash is the length of the prefix, "+
				"up to 32 for IPv4 and 128 for IPv6", word)
		}
	}
	return nil, false, nil
}

// checkHostBits refuses a range that begins within itself: it is meant as an address as often as not.
func checkHostBits(prefix netip.Prefix, text string) error {
	if prefix == prefix.Masked() {
		return nil
	}
	return fmt.Errorf("%q is neither an address nor a range: write %s for the address, or %s for the range",
		text, prefix.Addr(), prefix.Masked())
}

func isURL(word string) bool {
	return strings.HasPrefix(word, "https://") || strings.HasPrefix(word, "http://")
}

// isFile reports whether a word is a path: with a separator, so that a misspelt preset is not taken for a file. What
// begins with an address is a range, if perhaps a wrong one.
func isFile(word string) bool {
	before, _, isPath := strings.Cut(filepath.ToSlash(word), "/")
	_, err := netip.ParseAddr(before)
	return isPath && err != nil && !strings.Contains(word, "://")
}

// notASource says what a word could have been.
func notASource(word string) error {
	if scheme, _, ok := strings.Cut(word, "://"); ok {
		return fmt.Errorf("%q cannot be fetched: write https:// or http:// for %s://", word, scheme)
	}
	return fmt.Errorf("%q is no preset, address, range, file or URL: presets are %s; a file in the working directory is ./%s",
		word, strings.Join(feed.PresetNames(), ", "), word)
}

// fileListName names the list in a file after the file, with a hash where another list has that name already.
func fileListName(option, path string, others []listed) string {
	base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	safe := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, strings.ToLower(base))
	name := option + "_" + safe[:min(len(safe), 40)]
	if slices.ContainsFunc(others, func(l listed) bool { return l.spec.Name == name }) {
		name += "_" + shortHash(path)
	}
	return name
}

// shortHash names a list that has no name.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
