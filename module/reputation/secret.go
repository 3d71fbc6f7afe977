package reputation

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Secret is the current value of a secret in a store: an API key, a password, a token. It hides its
// content when it is printed, logged or encoded.
type Secret struct {
	// Value is the secret itself.
	Value string

	// Expires is when the value expires or should be replaced, or the
	// zero time if the store does not state it.
	Expires time.Time

	// TTL is how long the value may be used before it is fetched again, such as the duration of a
	// lease. Zero means that the caller decides.
	TTL time.Duration
}

const hidden = "[secret]"

// String hides the value.
func (Secret) String() string { return hidden }

// Format hides the value from every verb, %d included.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, hidden) }

// GoString hides the value.
func (Secret) GoString() string { return hidden }

// LogValue hides the value.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the value.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// SecretStore fetches one secret from a store. Fetch makes the requests for
// one read, returns soon after ctx ends, and is safe for concurrent use.
// Caching the value, refreshing it, and using the last good one while the
// store is unreachable are the caller's task: a SecretStore stores no value.
//
// Fetch returns
//
//   - a Secret whose Value is not empty;
//   - ErrRefused if the store does not accept this server's credentials, or does not let it read the secret;
//   - ErrUnknown if the store has no such secret, or if the configured field is missing in it;
//   - any other error if no answer came.
//
// Errors may be wrapped. They must name the secret and the cure, and must not contain a value, a
// token, or a URL with one of them.
type SecretStore interface {
	Fetch(ctx context.Context) (Secret, error)
}
