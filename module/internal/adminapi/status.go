package adminapi

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
)

// Status answers GET status: the state of the app.
type Status struct {
	Version    Versions         `json:"version"`
	Health     Health           `json:"health"`
	DataFolder string           `json:"data_folder"`
	Sites      *health.Sites    `json:"sites,omitempty"`
	Providers  []ProviderStatus `json:"providers"`
	Lists      []health.List    `json:"lists"`
	Databases  []mmdb.Status    `json:"databases"`
	Bots       *health.Bots     `json:"bots,omitempty"`
	Memory     health.Memory    `json:"memory"`
	Redis      *redis.Status    `json:"redis,omitempty"`
	History    *health.History  `json:"history,omitempty"`
	Sentry     *sentry.Status   `json:"sentry,omitempty"`

	Violations *health.Violations `json:"violations,omitempty"`

	Bans       int            `json:"bans"`
	BansBy     map[string]int `json:"bans_by,omitempty"` // by who made them: operator, rule, violation
	Exemptions int            `json:"exemptions"`
	Warnings   []string       `json:"warnings"` // what is wrong, each with what to do
}

// Health is the same judgement as in the detail of ip_reputation_health. The Warnings of Status are the same
// warnings, in the words for operators.
type Health struct {
	Status   health.Status    `json:"status"` // pass or warn
	Warnings []health.Warning `json:"warnings"`
}

// Versions are the versions of the running program.
type Versions struct {
	Plugin string `json:"plugin"`
	Caddy  string `json:"caddy"`
	Go     string `json:"go"`
}

// ProviderStatus is the state of a provider.
type ProviderStatus struct {
	quota.Status

	// Problem says why the provider cannot be asked now. It is empty if it can.
	Problem string `json:"problem,omitempty"`

	// Terms are the service's terms of use that matter, in a line, if it has some.
	Terms string `json:"terms,omitempty"`

	// Reports is missing for a provider that is sent none.
	Reports *ReportStatus `json:"reports,omitempty"`
}
