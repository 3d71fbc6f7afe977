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
// Profile describes the service as it is configured. It must be quick and always return the same. It is
// also called before the module is provisioned, so that mistakes in a Caddyfile are found while it is
// read. What depends on more than the settings is left out then: without a Name, the profile is not
// used.
//
// Check makes one request per call and returns soon after ctx ends. Caching,
// quotas, retries, circuit breaking and metrics are the caller's task: a
// provider has no state about addresses and never makes two requests.
// Addresses are valid, unmapped, without zone and not reserved. It returns
//
//   - a Report if the service has information about the address, good or bad;
//   - ErrUnknown if the service answered that it does not know the address;
//   - ErrRefused if the service does not accept the key, or if the plan does not include the call;
//   - a *ThrottledError if the service asks for a pause;
//   - ErrBadAnswer if the answer is not what the service documents;
//   - ErrUnsupported, without a request, if the service does not cover the address at all;
//   - any other error if no answer came.
//
// Errors may be wrapped. They must not contain a key, a URL or an address, since errors are logged.
type Provider interface {
	Profile() Profile
	Check(ctx context.Context, q Query) (Report, error)
}

// Prober is a Provider that can find out whether its service works and accepts the key, without a
// visitor's address. It is optional.
//
// Probe asks something harmless, such as about an address that no visitor has. It returns nil if the
// service answers as it should, and otherwise the errors of Check. It costs as much as a call or two
// of Check, returns soon after ctx ends, and is safe for concurrent use. The key is like Query.Key.
type Prober interface {
	Provider
	Probe(ctx context.Context, key string) error
}

// Errors that a Provider returns, bare or wrapped.
var (
	// ErrUnknown is a valid answer: the service does not know the address.
	ErrUnknown = errors.New("the service knows nothing of the address")

	// ErrRefused means that another call with the same key would fail too.
	ErrRefused = errors.New("the service refused the key")

	// ErrBadAnswer means that the answer, of the service or of a proxy before it, is not of the
	// documented protocol.
	ErrBadAnswer = errors.New("the service gave an answer that is not of its protocol")

	// ErrUnsupported means that the service does not cover this kind of address, such as IPv6.
	ErrUnsupported = errors.New("the service does not cover this kind of address")
)

// ThrottledError means that the service asks for a pause.
type ThrottledError struct {
	// RetryAfter is the length of the pause, or zero if the service does not state it.
	RetryAfter time.Duration
}

func (e *ThrottledError) Error() string {
	if e.RetryAfter <= 0 {
		return "the service asks for fewer requests"
	}
	return fmt.Sprintf("the service asks for no request during %s", e.RetryAfter)
}

// SkippedError means that no request was made, because of the terms of the service.
type SkippedError struct {
	// Result is SkippedQuota or SkippedBreaker.
	Result Result

	// Until is when the next request may be made, or zero if that is unknown.
	Until time.Time
}

func (e *SkippedError) Error() string {
	if e.Until.IsZero() {
		return "not asked: " + e.Result.String()
	}
	return fmt.Sprintf("not asked until %s: %s", e.Until.UTC().Format(time.RFC3339), e.Result)
}

// Result is the result of one call of a provider. Its words are the
// values of the metrics' result label.
type Result uint8

// The results.
const (
	// ResultOK: the service gave a report.
	ResultOK Result = iota
	// ResultNotFound: the service does not know the address, or does not cover it.
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
	// ResultSkippedQuota: not asked, since the rate, the quota or the
	// number of concurrent requests was exhausted.
	ResultSkippedQuota
	// ResultSkippedBreaker: not asked, since the service failed repeatedly or asked for a pause.
	ResultSkippedBreaker
	// ResultSkippedSettled: not asked, since no answer could change what becomes of the address.
	ResultSkippedSettled

	// NumResults is the number of results.
	NumResults = iota
)

var resultNames = [NumResults]string{
	"ok", "not_found", "timeout", "throttled", "refused", "bad_answer", "error", "skipped_quota", "skipped_breaker",
	"skipped_settled",
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

// ResultOf classifies the error of a Check, a Probe or a Report. All failures are classified here.
func ResultOf(err error) Result {
	var throttled *ThrottledError
	var skipped *SkippedError
	var network net.Error
	switch {
	case err == nil, errors.Is(err, ErrDuplicate), errors.Is(err, ErrRejected): // both are answers of a Reporter's service
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
