package providertest

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Score returns the score, in percent, of an address of which nobody has said anything but a provider with this profile,
// with this report, just now.
func Score(p reputation.Profile, r reputation.Report) float64 {
	source := score.OfProfile(p.Name, p)
	percent, _ := score.Judge([]score.Evidence{{
		Source: &source, Severity: r.Severity, Confidence: r.Confidence, Categories: r.Categories,
	}}, nil)
	return percent
}
