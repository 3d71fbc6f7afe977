package module

import (
	"fmt"
	"log/slog"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/preset"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// ofChanging is a preset whose publisher changes the address, at the address that the operator gives.
func ofChanging(option string, p preset.Preset, sources []string) (feed.Spec, error) {
	spec := p.Spec()
	if len(sources) != 1 || !isURL(sources[0]) && !isFile(sources[0]) {
		return spec, fmt.Errorf("the address of %s changes: write its file or URL behind it, such as "+
			"`%s %[1]s /var/lib/caddy-ip-reputation/%[1]s.json`; docs/cookbook.md has how to fetch it", p.Name, option)
	}
	if isURL(sources[0]) {
		spec.URLs = sources
		return spec, nil
	}
	spec.File = sources[0]
	return spec, checkPath(spec.File)
}

// Lists divides the sources of a line of `exempt` or `deny`: each is a list of its own, but for the file or the URL
// behind a preset that has no fixed address.
func Lists(sources []string) (all []List) {
	for len(sources) > 0 {
		n := 1
		if p, ok := preset.Find(sources[0]); ok && len(p.URLs) == 0 && len(sources) > 1 {
			n = 2
		}
		all, sources = append(all, List{Sources: sources[:n:n]}), sources[n:]
	}
	return all
}

// notToExempt says why a preset is no list to exempt.
func notToExempt(known *preset.Preset) error {
	if known.Accuses() {
		return fmt.Errorf("%s lists attackers: to refuse them, write `deny %[1]s`", known.Name)
	}
	return fmt.Errorf("anybody can rent an address of %s: exempt those that are yours", known.Name)
}

// logTerms logs the terms of use that somebody must look at.
func logTerms(logger *slog.Logger, all []configuredList) {
	for _, l := range all {
		if l.preset != nil && l.preset.Restricted {
			logger.Info("the publisher of a list has terms of use", slog.String("feed", l.spec.Name),
				slog.String("terms", l.preset.Terms))
		}
	}
}

// logTermsOfServices logs the terms of use of the services that have some.
func logTermsOfServices(logger *slog.Logger, providers []runtime.Provider) {
	for i := range providers {
		if p := &providers[i]; p.Terms != "" {
			logger.Info("a service has terms of use", slog.String("provider", p.Name), slog.String("terms", p.Terms))
		}
	}
}
