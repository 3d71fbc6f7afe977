package module

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// Feed is a list of addresses that speaks against those on it, or says what they are.
type Feed struct {
	// Where the list comes from: the name of a preset such as `spamhaus_drop`, or URLs that make up one list together, or a
	// file, or addresses and CIDR ranges. Files are watched. The presets are in docs/sources.md. Required.
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
	// Needed for a key in a store, or for a warning before the key ends. Default: none.
	Key *secret.Secret `json:"key,omitempty"`

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
	// old one stays in force. Default: 0.5.
	MaxShrink *float64 `json:"max_shrink,omitempty"`

	// Whether an empty list is believed. Default: the preset's (`feodo`: yes), else no.
	AllowEmpty bool `json:"allow_empty,omitempty"`
}
