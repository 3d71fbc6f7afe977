package reputation

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
)

// Query is one question to a Provider. It shows itself nowhere: not when it is printed, logged or encoded.
type Query struct {
	// Addr is the address that is asked about: valid, unmapped, without zone and not reserved.
	Addr netip.Addr

	// Key is the key to ask with. The caller chooses it anew for every call, so that a rotated key is used from the next
	// call on and a refused one is known. It is empty where the service is asked without one. What has two parts, such as
	// an account and a licence key, is written with a colon between them.
	Key string
}

// String hides the query.
func (Query) String() string { return "[query]" }

// Format hides the query from every verb, %d included.
func (q Query) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, q.String()) }

// GoString hides the query.
func (q Query) GoString() string { return q.String() }

// LogValue hides the query.
func (q Query) LogValue() slog.Value { return slog.StringValue(q.String()) }

// MarshalText hides the query.
func (q Query) MarshalText() ([]byte, error) { return []byte(q.String()), nil }
