package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
)

// Why a document is refused. Errors wrap these.
var (
	// ErrNotText means that it is packed in a way that is not read.
	ErrNotText = errors.New("not text")

	// ErrTooLarge means that it is larger than it may be.
	ErrTooLarge = errors.New("too large")
)

// MaxPause is the longest pause that a publisher may ask for: more is a mistake.
const MaxPause = 24 * time.Hour

// StatusError is an answer with a status other than 200 and 304.
type StatusError struct {
	// Status is that of the answer.
	Status int

	// RetryAfter is the pause that the publisher asks for, MaxPause at most; 0 if it names none.
	RetryAfter time.Duration

	// KeyRefused is set if the publisher refused a request with a key, probably because of it.
	KeyRefused bool
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("the server answered with status %d", e.Status)
	if e.KeyRefused {
		text += ": it may refuse the key: see whether that is valid, and what its plan allows"
	}
	return text
}

func statusError(resp *http.Response, keyed bool, now time.Time) error {
	denied := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden
	pause, _ := backoff.RetryAfter(resp.Header.Get("Retry-After"), now, MaxPause)
	return &refusal{err: &StatusError{Status: resp.StatusCode, RetryAfter: pause, KeyRefused: keyed && denied}}
}

// refusal is an error whose text quotes nothing that may be secret or long.
type refusal struct{ kind, err error }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Errorf(format, args...)}
}

func (r *refusal) Error() string        { return r.err.Error() }
func (r *refusal) Unwrap() error        { return r.err }
func (r *refusal) Is(target error) bool { return target == r.kind }
