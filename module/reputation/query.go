package reputation

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
)

// Query is one question to a Provider. It hides its content when it is printed, logged or encoded.
type Query struct {
	// Addr is the address in question. It is valid, unmapped, without zone and not reserved.
	Addr netip.Addr

	// Key is the key to use, or empty for none. The caller chooses it for
	// each call, so that a rotated key is used at once. A key of two parts,
	// such as an account and a licence key, has a colon between them.
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
