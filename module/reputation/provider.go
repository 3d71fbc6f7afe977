package reputation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Provider answers for one reputation service. It is safe for concurrent use.
//
// Profile returns what holds for the service as it is configured. It is called once the provider is ready for use, is quick,
// and always returns the same.
//
// Check makes one request per call and returns soon after ctx ends. Caching, quotas, retries, circuit breaking and metrics
// belong to the caller: a provider keeps no state about addresses and never calls twice.
// It is given addresses that are valid, unmapped, without zone and not reserved. It returns
//
//   - a Report when the service has an opinion, be it good or bad;
//   - ErrUnknown when the service answered that it knows nothing of the address;
//   - ErrRefused when the service does not accept the key, or the plan does not include the call;
//   - a *ThrottledError when the service asks to be left alone for a while;
//   - ErrBadAnswer when what came back is not what the service documents;
//   - ErrUnsupported, without a request, for addresses the service does not cover at all;
//   - any other error when no answer came.
//
// Errors may be wrapped. They must hold no key, no URL and no address, since errors end up in logs.
type Provider interface {
	Profile() Profile
	Check(ctx context.Context, q Query) (Report, error)
}

// Errors that a Provider returns, bare or wrapped.
var (
	// ErrUnknown is a valid answer: the service has looked and knows nothing of the address.
	ErrUnknown = errors.New("the service knows nothing of the address")

	// ErrRefused means that asking again with the same key is pointless.
	ErrRefused = errors.New("the service refused the key")

	// ErrBadAnswer means that the service, or something in between, did not speak the documented protocol.
	ErrBadAnswer = errors.New("the service gave an answer that is not of its protocol")

	// ErrUnsupported means that the service does not cover this kind of address, such as IPv6.
	ErrUnsupported = errors.New("the service does not cover this kind of address")
)

// ThrottledError says that the service asks not to be called for a while.
type ThrottledError struct {
	// RetryAfter is how long the service wants to be left alone. Zero means that it did not say.
	RetryAfter time.Duration
}

func (e *ThrottledError) Error() string {
	if e.RetryAfter <= 0 {
		return "the service asks for fewer requests"
	}
	return fmt.Sprintf("the service asks for no request during %s", e.RetryAfter)
}

// SkippedError says that no request was made, to keep within the terms of the service.
type SkippedError struct {
	// Result is SkippedQuota or SkippedBreaker.
	Result Result

	// Until is when asking makes sense again; zero when not known.
	Until time.Time
}

func (e *SkippedError) Error() string {
	if e.Until.IsZero() {
		return "not asked: " + e.Result.String()
	}
	return fmt.Sprintf("not asked until %s: %s", e.Until.UTC().Format(time.RFC3339), e.Result)
}

// Result is the outcome of one attempt to ask a provider. Its words are the values of the metrics' result label.
type Result uint8

// The results.
const (
	// ResultOK: the service gave a report.
	ResultOK Result = iota
	// ResultNotFound: the service knows nothing of the address, or does not cover it.
	ResultNotFound
	// ResultTimeout: no answer within the time allowed.
	ResultTimeout
	// ResultThrottled: the service asked for fewer requests.
	ResultThrottled
	// ResultRefused: the service did not accept the key.
	ResultRefused
	// ResultBadAnswer: the answer was not of the service's protocol.
	ResultBadAnswer
	// ResultError: any other failure, such as a refused connection.
	ResultError
	// ResultSkippedQuota: not asked, since the rate, the quota or the number of concurrent requests is used up.
	ResultSkippedQuota
	// ResultSkippedBreaker: not asked, since the service failed repeatedly or asked to be left alone.
	ResultSkippedBreaker

	// NumResults is the number of results.
	NumResults = iota
)

var resultNames = [NumResults]string{
	"ok", "not_found", "timeout", "throttled", "refused", "bad_answer", "error", "skipped_quota", "skipped_breaker",
}

// String returns the result's word.
func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return fmt.Sprintf("Result(%d)", uint8(r))
}

// Answered reports whether the service gave a valid answer.
func (r Result) Answered() bool { return r == ResultOK || r == ResultNotFound }

// ResultOf classifies what a Check returned. It is the one place where failures are told apart.
func ResultOf(err error) Result {
	var throttled *ThrottledError
	var skipped *SkippedError
	var network net.Error
	switch {
	case err == nil:
		return ResultOK
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrUnsupported):
		return ResultNotFound
	case errors.As(err, &skipped):
		if skipped.Result != ResultSkippedQuota {
			return ResultSkippedBreaker // whatever it says: without a request there is no answer
		}
		return ResultSkippedQuota
	case errors.As(err, &throttled):
		return ResultThrottled
	case errors.Is(err, ErrRefused):
		return ResultRefused
	case errors.Is(err, ErrBadAnswer):
		return ResultBadAnswer
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return ResultTimeout
	}
	return ResultError
}
