package adminapi

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"

// Override is what a POST of a ban or an exemption wants.
type Override struct {
	Prefix string `json:"prefix"`
	TTL    string `json:"ttl,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// OverrideAnswer is an entry, and what its operator should know of it.
type OverrideAnswer struct {
	ban.Entry

	// Note says why the entry may not do what was expected.
	Note string `json:"note,omitempty"`

	// Warning says what went wrong although the change is in force.
	Warning string `json:"warning,omitempty"`
}

// StateOf is what an address is while an entry of the kind holds it.
func StateOf(kind ban.Kind) string {
	if kind == ban.Exemption {
		return "exempt"
	}
	return "banned"
}
