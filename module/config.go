package module

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
)

// Feed is a list of addresses that speaks against those on it, or says what they are.
type Feed struct {
	// Where the list comes from: the name of a preset, or URLs that make up one list together, or a file, or addresses
	// and CIDR ranges. Files are watched. Presets: `spamhaus_drop`, `firehol_level1`, `ipsum`, `tor_exits`,
	// `blocklist_de`, `feodo`, `emerging_threats`, `x4bnet_vpn`, `x4bnet_datacenter`. Required.
	Sources []string `json:"sources,omitempty"`

	// The name by which the feed appears in reasons, rules, metrics and the data folder: lower-case letters, digits, `_`
	// and `-`, the first a letter. Required unless the source is a preset. Default: the preset's name.
	Name string `json:"name,omitempty"`

	// What the addresses on the list are accused of, such as `scanner` or `spam`. Default: the preset's, else `abuse`.
	Category []string `json:"category,omitempty"`

	// What the addresses on the list are by nature: `tor`, `vpn`, `proxy`, `hosting`, `mobile`. Such a list moves the
	// score by little. Default: the preset's, else none.
	Nature []string `json:"nature,omitempty"`

	// How much you trust the list, from 0 (never counts) to 1. Default: 1.
	Trust *float64 `json:"trust,omitempty"`

	// How often URLs are fetched. A preset is never fetched more often than its publisher allows. Default: the preset's,
	// else 1h.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// How long one fetch may take. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Headers sent when the list is fetched, for lists that need a token. Placeholders are resolved for every request, so
	// that a file that changes is used without a reload; `{key}` stands for the key. They are not sent to another host after
	// a redirect. Default: none.
	Header map[string]string `json:"header,omitempty"`

	// The publisher's key for you. It is sent where a header has `{key}` in it, such as `Authorization "Bearer {key}"`.
	// Needed where the key is kept in a store, or its end should be watched. Default: none.
	Key *Secret `json:"key,omitempty"`

	// How the list is written: `text` (one address or range a line), `csv`, `json` or `ndjson`. Default: the preset's,
	// else `text`.
	Format string `json:"format,omitempty"`

	// Which columns (`csv`) or members (`json`, `ndjson`) hold the addresses. Required for these formats.
	Field []string `json:"field,omitempty"`

	// The least number in the second column of a `text` list for an entry to count, as in ipsum, where it is the number
	// of other lists that name the address. Zero takes all. Default: the preset's (`ipsum`: 3), else 0.
	MinCount int `json:"min_count,omitempty"`

	// The largest list that is accepted, in bytes after decompression. Default: 64 MiB.
	MaxSize int64 `json:"max_size,omitempty"`

	// The share of its entries that a list may lose from one fetch to the next; one that loses more is refused and the
	// old one kept. Default: 0.5.
	MaxShrink *float64 `json:"max_shrink,omitempty"`

	// Whether an empty list is believed. Default: the preset's (`feodo`: yes), else no.
	AllowEmpty bool `json:"allow_empty,omitempty"`
}

// Provider is a reputation service that is asked about addresses one by one, within its terms.
type Provider struct {
	// The service: a module of the namespace `ip_reputation.providers`. Required.
	ServiceRaw json.RawMessage `json:"service,omitempty" caddy:"namespace=ip_reputation.providers inline_key=service"`

	// The name by which the provider appears in reasons, rules and metrics. Needed when one service is used twice.
	// Default: the service's name.
	Name string `json:"name,omitempty"`

	// The API keys. The first that the service accepts is used: with several, a new key can be put in place before the old
	// one ends. A key that the service refuses is fetched anew at once, and set aside for a while if it is still the same.
	// Required by services that ask for one. Default: none.
	Keys []Secret `json:"keys,omitempty"`

	// How many calls the plan includes, such as `1000/day`; several windows are all kept. Windows follow the calendar in
	// UTC: minute, hour, day, week, month. Default: the service's free plan.
	Quota []string `json:"quota,omitempty"`

	// The most calls in a short time, such as `5/s` or `1/2s`. Default: the service's, else no limit besides the quota.
	Rate string `json:"rate,omitempty"`

	// How long one call may take. Requests do not wait for it longer than `wait`. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How many calls may be under way at a time. Default: 4.
	Concurrency int `json:"concurrency,omitempty"`

	// How much you trust the service, from 0 (never counts) to 1. Default: the service's, else 1.
	Trust *float64 `json:"trust,omitempty"`

	// How long an answer holds that speaks against an address. Default: the service's, else 6h.
	ListedTTL caddy.Duration `json:"listed_ttl,omitempty"`

	// How long an answer holds that does not. Default: the service's, else 24h.
	CleanTTL caddy.Duration `json:"clean_ttl,omitempty"`
}

// Rule is one line of a site's policy. Rules are tried in the order written; the first whose conditions all hold decides.
type Rule struct {
	// What to do: `pass`, `limit` (let pass within a rate), `block` (an error that `handle_errors` can render) or `drop`
	// (close the connection). Required.
	Action string `json:"action,omitempty"`

	// The rate of a `limit`, such as `10/1m`: that many requests may come at once, and as many again in the time after the
	// slash. What comes faster is answered with the status 429. Each subject (IPv4 address or IPv6 /64 network) has its own
	// count. Instances that share a Redis, and sites with the same limit, count together.
	// Required for `limit`, and for nothing else.
	Limit string `json:"limit,omitempty"`

	// What a `limit` counts by instead of the subject: a text with placeholders, such as `{http.request.header.X-Api-Key}`.
	// Where it is empty for a request, the subject counts. Default: the subject.
	Key string `json:"key,omitempty"`

	// The HTTP status of a `block`. Default: 403.
	StatusCode int `json:"status_code,omitempty"`

	// When the rule applies. All conditions must hold; of the values of one condition, any.
	Conditions
}

// Conditions are what a rule or a matcher asks of a verdict. A condition that is left out holds always.
type Conditions struct {
	// The score: `85` for 85 and more, `40-84` for a range. It never holds for an address without a score.
	// Default: any, and none.
	Score string `json:"score,omitempty"`

	// Categories, of which the verdict must have one: abuse, scanner, bruteforce, web_attack, spam, bot, botnet_c2,
	// malware, ddos, compromised, hijacked, proxy, vpn, tor, hosting, crawler, benign_scanner, public_service, policy.
	// Default: any.
	Category []string `json:"category,omitempty"`

	// Natures, of which the address must have one: tor, vpn, proxy, hosting, mobile. Default: any.
	Nature []string `json:"nature,omitempty"`

	// Countries, as ISO 3166-1 alpha-2 codes. Default: any.
	Country []string `json:"country,omitempty"`

	// Autonomous system numbers. Default: any.
	ASN []uint32 `json:"asn,omitempty"`

	// Names of feeds or providers, of which one must speak for or against the address. `deny` and `ban` are the
	// operator's own lists. Default: any.
	Source []string `json:"source,omitempty"`

	// Statuses: fresh, partial, stale, pending, unknown, exempt. Default: any.
	Status []string `json:"status,omitempty"`
}
