package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Answer is the verdict about an address. Its slices are not nil.
type Answer struct {
	Address netip.Addr   `json:"address"`
	Subject netip.Prefix `json:"subject"` // the key of the cache: an IPv4 address or an IPv6 /64

	Score      *uint8   `json:"score"` // 0 to 100; nil: no source has answered, or the address is not scored
	Status     string   `json:"status"`
	Coverage   float64  `json:"coverage"` // weight of the sources that have answered, 0 to 1
	Categories []string `json:"categories"`

	Country string          `json:"country,omitempty"`
	ASN     uint32          `json:"asn,omitempty"`
	ASName  string          `json:"as_name,omitempty"`
	Nature  map[string]bool `json:"nature,omitempty"` // network types that are known to apply, or not to

	Reasons []Reason `json:"reasons"`
}

// Reason is one source's part of a score.
type Reason struct {
	Source     string   `json:"source"`
	Points     float64  `json:"points"` // in decibans
	Categories []string `json:"categories"`
	AgeSeconds int64    `json:"age_seconds"` // since the source answered, or since the newest violation; 0 for lists

	// Network is whether the source has answered about others of the network, and not about the address.
	Network bool `json:"network,omitempty"`
}

// etag returns the entity tag of an answer. It ignores the age of reasons.
func (a Answer) etag() (string, error) {
	a.Reasons = slices.Clone(a.Reasons)
	for i := range a.Reasons {
		a.Reasons[i].AgeSeconds = 0
		a.Reasons[i].Points = math.Round(a.Reasons[i].Points)
	}
	text, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	return "W/" + strongTag(text), nil
}

// strongTag returns the entity tag of a text.
func strongTag(text []byte) string {
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// matchesETag reports whether If-None-Match contains the tag.
func matchesETag(values []string, tag string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") { // the API's tags contain no comma
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}

// jsonResponse returns a response with the value as JSON.
func jsonResponse(value any, cache string) (response, error) {
	body, err := json.Marshal(value)
	return response{status: http.StatusOK, contentType: "application/json", cache: cache, body: body}, err
}
