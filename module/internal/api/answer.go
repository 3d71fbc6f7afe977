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

// Answer is what is known of an address. Slices are not nil.
type Answer struct {
	Address netip.Addr   `json:"address"`
	Subject netip.Prefix `json:"subject"` // what it is remembered by: an IPv4 address or an IPv6 /64

	Score      *uint8   `json:"score"` // 0 to 100; nil when nobody has answered, or the address is not judged
	Status     string   `json:"status"`
	Coverage   float64  `json:"coverage"` // of the sources, by trust, 0 to 1
	Categories []string `json:"categories"`

	Country string          `json:"country,omitempty"`
	ASN     uint32          `json:"asn,omitempty"`
	ASName  string          `json:"as_name,omitempty"`
	Nature  map[string]bool `json:"nature,omitempty"` // kinds that are known to hold, or not to

	Reasons []Reason `json:"reasons"`
}

// Reason is the part of one source in a score.
type Reason struct {
	Source     string   `json:"source"`
	Points     float64  `json:"points"` // in decibans
	Categories []string `json:"categories"`
	AgeSeconds int64    `json:"age_seconds"` // since the source was asked; 0 for lists
}

// etag names what an answer says: answers whose reasons only got older have the same one.
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

// strongTag names a text.
func strongTag(text []byte) string {
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// hasCopy reports whether a client has what a tag names, by the values of If-None-Match.
func hasCopy(values []string, tag string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") { // our tags hold no comma
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}

// jsonResponse is a value as an answer.
func jsonResponse(value any, cache string) (response, error) {
	body, err := json.Marshal(value)
	return response{status: http.StatusOK, contentType: "application/json", cache: cache, body: body}, err
}
