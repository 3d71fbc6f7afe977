package reputation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"
)

// Reporter is a Provider whose service takes reports about addresses that attacked a site. It is optional.
// Profile.Reports says which reports it takes.
//
// Report sends one incident in one request, and returns soon after ctx ends. It is safe for concurrent use. The key is
// like Query.Key. Quotas, retries, and that an address is reported once in a while only, are the caller's task. It
// returns
//
//   - nil if the service has stored the report;
//   - ErrDuplicate if the service has a report about the address from a short time ago, and takes no further one now;
//   - ErrRejected if the service does not take this report, so that another try would fail too;
//   - ErrUnsupported, without a request, if the service does not cover the address or any of the categories;
//   - ErrRefused, a *ThrottledError, ErrBadAnswer or any other error as Check does.
//
// A pause that the service asks for because of one address is ErrDuplicate, whatever its status: it is no reason to
// send no reports about others. Errors must not contain a key, a URL or an address.
type Reporter interface {
	Provider
	Report(ctx context.Context, key string, i Incident) error
}

// Reports are the reports that a service takes.
type Reports struct {
	// Quota are the limits of the most common plan, in the form of Profile.Quota, which counts the calls of Check alone.
	// It is lower than that of the plan where an account is often shared with other programs. Default: none.
	Quota []string

	// Categories are those of which at least one must be in an Incident. Others are sent beside them or left out.
	Categories Categories
}

// MaxComment is the length of the longest comment of an Incident, in bytes.
const MaxComment = 1024

// Incident is what an address did to a site. It hides its content when it is printed, logged or encoded.
type Incident struct {
	// Addr is the address. It is valid, unmapped, without zone and not reserved.
	Addr netip.Addr

	// Categories are what it did. There is at least one.
	Categories Categories

	// Comment describes it in one line of printable ASCII, of at most MaxComment bytes. It has no personal data, and
	// nothing that the client wrote.
	Comment string

	// At is when it was last seen.
	At time.Time
}

// String hides the incident.
func (Incident) String() string { return "[incident]" }

// Format hides the incident from every verb, %d included.
func (i Incident) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, i.String()) }

// GoString hides the incident.
func (i Incident) GoString() string { return i.String() }

// LogValue hides the incident.
func (i Incident) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalText hides the incident.
func (i Incident) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// Errors that a Reporter returns besides those of a Provider, bare or wrapped.
var (
	// ErrDuplicate means that the service has a report about the address from a short time ago.
	ErrDuplicate = errors.New("the service has a recent report about the address")
	// ErrRejected means that the service answered, but does not take this report.
	ErrRejected = errors.New("the service does not take the report")
)
