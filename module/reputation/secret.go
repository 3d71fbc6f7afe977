package reputation

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Secret is what a store has under a name now: an API key, a password, a token. It shows itself nowhere: not when it is
// printed, logged or encoded.
type Secret struct {
	// Value is the secret itself.
	Value string

	// Expires is when the value ends, or should have been replaced, as far as the store says. The zero time means that it
	// does not say.
	Expires time.Time

	// TTL is how long the store wants the value to be used before it is fetched again, as a lease does. Zero leaves it to
	// the caller.
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

// SecretStore fetches one secret from where it is kept. Its Fetch makes the calls that one look takes, returns soon after ctx
// ends, and is safe for concurrent use. Keeping the value, fetching it again and again, and going on with the last good one
// while the store is away belong to the caller: a store keeps no value.
//
// Fetch returns
//
//   - a Secret whose Value is not empty;
//   - ErrRefused when the store does not accept this server's own credentials, or does not let it read the secret;
//   - ErrUnknown when the store has no such secret, or nothing in it where it was told to look;
//   - any other error when no answer came.
//
// Errors may be wrapped. They name the secret and the cure, and hold no value, no token and no URL with either.
type SecretStore interface {
	Fetch(ctx context.Context) (Secret, error)
}
