package adminapi

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
)

// Status answers GET status: the state of the app.
type Status struct {
	Version    Versions         `json:"version"`
	Health     Health           `json:"health"`
	DataFolder string           `json:"data_folder"`
	Providers  []ProviderStatus `json:"providers"`
	Lists      []ListStatus     `json:"lists"`
	Memory     MemoryStatus     `json:"memory"`
	Redis      *redis.Status    `json:"redis,omitempty"`
	History    *HistoryStatus   `json:"history,omitempty"`
	Sentry     *sentry.Status   `json:"sentry,omitempty"`
	Bans       int              `json:"bans"`
	Exemptions int              `json:"exemptions"`
	Warnings   []string         `json:"warnings"` // what is wrong, each with what to do
}

// Health is the same judgement as in the detail of ip_reputation_health.
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
}

// ListStatus is the state of a list. It also answers POST feeds/{name}/refresh.
type ListStatus struct {
	Role string `json:"role"` // feed, deny or exempt
	feed.Status
}

// HistoryStatus is the state of the history.
type HistoryStatus struct {
	Database postgres.Status `json:"database"`
	Recorder history.Status  `json:"recorder"`
}

// MemoryStatus says how full the memory is.
type MemoryStatus struct {
	Records   int    `json:"records"`
	Capacity  int    `json:"capacity"`
	Evictions uint64 `json:"evictions"` // since this memory was made
}
