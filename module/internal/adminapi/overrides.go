package adminapi

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"

// Override is the body of POST bans and POST exemptions.
type Override struct {
	Prefix string `json:"prefix"`
	TTL    string `json:"ttl,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// OverrideAnswer answers POST and DELETE of bans and exemptions: the entry, with remarks.
type OverrideAnswer struct {
	ban.Entry

	// Note says why the entry may do less than expected.
	Note string `json:"note,omitempty"`

	// Warning says what went wrong, although the change is in force.
	Warning string `json:"warning,omitempty"`
}

// StateOf returns what an address is while an entry of the kind holds it: banned or exempt.
func StateOf(kind ban.Kind) string {
	if kind == ban.Exemption {
		return "exempt"
	}
	return "banned"
}
