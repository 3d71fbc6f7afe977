package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed/fetch"
)

// Result is the outcome of one attempt to refresh a list. Its words
// are the values of the metrics' result label.
type Result uint8

// The results.
const (
	// ResultOK: a newer list is in force.
	ResultOK Result = iota
	// ResultUnchanged: the list has not changed.
	ResultUnchanged
	// ResultNotStored: a newer list is in force, but could not be written to disk.
	ResultNotStored
	// ResultTimeout: no whole answer within the time allowed.
	ResultTimeout
	// ResultThrottled: the publisher asks for a pause.
	ResultThrottled
	// ResultStatus: the answer had a status other than 200 and 304.
	ResultStatus
	// ResultKeyRefused: the publisher refused the key of the list.
	ResultKeyRefused
	// ResultHTML: a web page came instead of a list.
	ResultHTML
	// ResultNotText: what came is not text.
	ResultNotText
	// ResultEmpty: the list is empty and must not be.
	ResultEmpty
	// ResultShrunk: the list lost more of its lines than it may.
	ResultShrunk
	// ResultUnparsable: the document, or too many lines, are not of the list's format.
	ResultUnparsable
	// ResultTooLarge: the list is larger than it may be.
	ResultTooLarge
	// ResultError: any other failure, such as a refused connection or an unreadable file.
	ResultError

	// NumResults is the number of results.
	NumResults = iota
)

var resultNames = [NumResults]string{
	"ok", "unchanged", "not_stored", "timeout", "throttled", "http_status", "key_refused", "refused_html", "refused_not_text",
	"refused_empty", "refused_shrunk", "refused_unparsable", "too_large", "error",
}

// String returns the result's word.
func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return fmt.Sprintf("Result(%d)", uint8(r))
}

// failure is an error with its result.
type failure struct {
	result     Result
	retryAfter time.Duration // the pause that the publisher asks for; 0 if it names none
	refused    bool          // the publisher refused the request: asking again at once makes it worse
	err        error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func refuse(r Result, format string, args ...any) error {
	return &failure{result: r, err: fmt.Errorf(format, args...)}
}

// KeyRefused returns the error for the source of a pushed list that refuses the key.
func KeyRefused(text string) error {
	return &failure{result: ResultKeyRefused, err: errors.New(text)}
}

// fetchFailure returns the failure of a fetch.
func fetchFailure(err error) error {
	f := &failure{result: classify(err), err: err}
	var answer *fetch.StatusError
	if errors.As(err, &answer) {
		f.retryAfter, f.refused = answer.RetryAfter, answer.Status >= 400 && answer.Status < 500
	}
	return f
}

// ResultOf returns the result that an error of a refresh or a push counts as.
func ResultOf(err error) Result { return classify(err) }

// classify returns the result that an error counts as.
func classify(err error) Result {
	var f *failure
	var answer *fetch.StatusError
	var network net.Error
	switch {
	case errors.As(err, &f):
		return f.result
	case errors.As(err, &answer):
		return resultOfStatus(answer)
	case errors.Is(err, fetch.ErrNotText):
		return ResultNotText
	case errors.Is(err, fetch.ErrTooLarge):
		return ResultTooLarge
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return ResultTimeout
	}
	return ResultError
}

func resultOfStatus(answer *fetch.StatusError) Result {
	switch {
	case answer.KeyRefused:
		return ResultKeyRefused
	case answer.Status == http.StatusTooManyRequests,
		answer.Status == http.StatusServiceUnavailable && answer.RetryAfter > 0:
		return ResultThrottled
	}
	return ResultStatus
}
