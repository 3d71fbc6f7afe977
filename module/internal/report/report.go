// Package report turns what clients did to sites into reports for the services that take them: one for each address in a
// quarter of an hour, in a bounded queue, with a comment that has no personal data.
package report

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Quiet is how long after a report of a subject there is no other. Services refuse the same address for 15 minutes.
const Quiet = 901 * time.Second

// Violation is one that may be reported.
type Violation struct {
	Name     string     // as the configuration calls it; it is not sent
	Client   netip.Addr // unmapped, without zone
	At       time.Time
	Category reputation.Category

	// Path is that of the request, without the query; empty if there is none. It is repeated to a service only if it
	// is one that scanners are known to ask for.
	Path string

	// RequestID is the correlation ID of the request.
	RequestID string

	// Observed means that the site only observes: the report is shown, and not sent.
	Observed bool
}

// Outlet is where reports go, as the configuration that serves says.
type Outlet struct {
	// Services are those that reports are sent to. Without any, reports are shown only.
	Services []Service

	// May reports whether this instance, of all that share their state, may report a subject to a service now, and if so,
	// keeps the others from it for a time. After an error, the instance acts as if it were alone. Nil means that it is.
	May func(ctx context.Context, service string, subject netip.Prefix, within time.Duration) (bool, error)

	// Spared returns why an address must not be reported for violations of these names, or the empty string. It is asked
	// before each attempt.
	Spared func(addr netip.Addr, violations []string) string

	// Ended is called with each report to a service that waits no more. It must be fast.
	Ended func(r Report)

	Logger *slog.Logger
}

// Service takes reports.
type Service struct {
	Name string

	// Takes are the categories that it takes reports of.
	Takes reputation.Categories

	// IPv4Only means that it is told no IPv6 addresses.
	IPv4Only bool

	// Send sends one report. See reputation.Reporter for its errors; besides, it returns a *reputation.SkippedError
	// when the terms of the service allow none now.
	Send func(ctx context.Context, i reputation.Incident) error
}

// refuses returns why a service gets no report of these categories about an address, or the empty string.
func (s *Service) refuses(addr netip.Addr, categories reputation.Categories) string {
	switch {
	case s.IPv4Only && !addr.Is4():
		return "`send network` keeps IPv6 addresses from it"
	case s.Takes&categories == 0:
		return "it takes no reports of the category " + categories.String()
	}
	return ""
}

// Outcome is what became of a report. Its words are values of the metrics' result label.
type Outcome uint8

// The outcomes.
const (
	// Queued: it waits, for more violations or for another try.
	Queued Outcome = iota
	// Sent: the service has stored it.
	Sent
	// Duplicate: the service had a recent report about the address.
	Duplicate
	// Elsewhere: another instance has reported the address.
	Elsewhere
	// Spared: the address must not be reported, as was found out while the report waited.
	Spared
	// Untaken: the service gets no such reports.
	Untaken
	// Rejected: the service did not take it.
	Rejected
	// Failed: it could not be sent, after several tries.
	Failed
	// Expired: it could not be sent in time.
	Expired
	// Dropped: there was no room in the queue.
	Dropped
	// Shown: it would have been sent, if the site enforced and a provider said `report yes`.
	Shown

	// NumOutcomes is the number of outcomes.
	NumOutcomes = iota
)

var outcomeNames = [NumOutcomes]string{
	"queued", "sent", "duplicate", "elsewhere", "spared", "untaken", "rejected", "failed", "expired", "dropped", "shown",
}

// String returns the outcome's word.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// MarshalText writes the outcome's word.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads the outcome's word.
func (o *Outcome) UnmarshalText(text []byte) error {
	for i, name := range outcomeNames {
		if name == string(text) {
			*o = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("unknown outcome %q", text)
}

// Report is a report as operators see it.
type Report struct {
	Address    netip.Addr            `json:"address"`
	Service    string                `json:"provider,omitempty"` // missing if it is for none
	Categories reputation.Categories `json:"categories"`
	Comment    string                `json:"comment"`
	Violations []string              `json:"violations"` // their names
	Requests   int                   `json:"requests"`   // that violated a rule
	First      time.Time             `json:"first"`
	Last       time.Time             `json:"last"`

	// RequestID is that of the last of these requests.
	RequestID string `json:"request_id,omitempty"`

	Outcome Outcome `json:"outcome"`

	// Why says why it was not sent, or why the last try failed.
	Why string `json:"why,omitempty"`

	// Tries are those that failed.
	Tries int `json:"tries,omitempty"`

	// At is when the outcome was known, or when the next try is due.
	At time.Time `json:"at"`
}
