package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
)

const (
	userAgent = "caddy-ip-reputation"

	// maxAnswer is how much of an answer is read and discarded, so that the connection can be reused.
	maxAnswer = 4 << 10
)

// failure is why an attempt failed.
type failure struct {
	cause string // groups log messages
	text  string
	cure  string
	final bool          // another attempt would fail, too
	after time.Duration // the pause that the receiver asks for
}

// deliver sends a message until the receiver accepts it, or until another attempt is pointless.
func (s *Sender) deliver(m Message) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("delivering an event panicked; this is a bug", slog.Any("panic", r))
		}
	}()
	s.awaitSecret()
	for attempt := 1; ; attempt++ {
		f := s.post(m)
		if f == nil {
			s.log.Debug("an event was delivered",
				slog.String("event", m.Name), slog.String("id", m.ID), slog.Int("attempts", attempt))
			return
		}
		s.log.Debug("an event could not be delivered", slog.String("event", m.Name), slog.String("id", m.ID),
			slog.String("error", f.text), slog.Int("attempt", attempt))
		if f.final || attempt > s.options.Retries || !s.pause(attempt, f.after) {
			s.logLost(m, f, attempt)
			return
		}
	}
}

// awaitSecret waits for a secret that its store has not delivered yet, at most as long as one
// attempt: the store may start at the same time as the first event.
func (s *Sender) awaitSecret() {
	const interval = 20 * time.Millisecond
	for waited := time.Duration(0); len(s.options.Secrets()) == 0 && waited < s.options.Timeout; waited += interval {
		select {
		case <-time.After(interval):
		case <-s.noRetry:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// logLost logs that a message is lost, once a minute per cause.
func (s *Sender) logLost(m Message, f *failure, attempts int) {
	if s.logged.Allow(f.cause, time.Now()) {
		s.log.Error("an event was not delivered, and is lost", slog.String("event", m.Name), slog.String("id", m.ID),
			slog.Int("attempts", attempts), slog.String("error", f.text), slog.String("cure", f.cure))
	}
}

// pause waits before the next attempt. It returns false if there will be none.
func (s *Sender) pause(failures int, after time.Duration) bool {
	pause := backoff.Jitter(retryPauses.Pause(failures), 1-retryJitter, 1+retryJitter)
	timer := time.NewTimer(max(pause, after))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.noRetry:
	case <-s.ctx.Done():
	}
	return false
}

// post makes one attempt.
func (s *Sender) post(m Message) *failure {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.URL.String(), bytes.NewReader(m.Body))
	if err != nil {
		return &failure{cause: "request", text: "the request cannot be made", cure: "check the URL", final: true}
	}
	for name, values := range s.options.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", userAgent)
	if f := s.sign(req.Header, m, time.Now()); f != nil {
		return f
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return s.describe(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols { // whose body is the bare connection, which ctx does not close
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	}
	return failureOf(resp, time.Now())
}

// failureOf returns the failure that an answer means; nil for any 2xx status. Redirects are
// failures.
func failureOf(resp *http.Response, now time.Time) *failure {
	status := resp.StatusCode
	f := &failure{
		cause: strconv.Itoa(status), text: fmt.Sprintf("the receiver answered with status %d", status),
		cure: "see why the receiver does not take it", final: true,
	}
	switch {
	case status/100 == 2:
		return nil
	case status/100 == 3:
		f.cure = "configure the URL that the receiver redirects to"
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status/100 == 5:
		f.final = false
		f.after, _ = backoff.RetryAfter(resp.Header.Get("Retry-After"), now, retryAfterMax)
	}
	return f
}

// describe returns why there was no answer. The text contains only the host of the URL: errors of
// the library quote the whole URL, or data from the receiver.
func (s *Sender) describe(err error) *failure {
	f := &failure{
		cause: "error", text: "the connection failed before the answer was complete",
		cure: "see whether the receiver is up and can be reached from here",
	}
	var (
		network net.Error
		dial    *net.OpError
		cert    *tls.CertificateVerificationError
	)
	switch {
	case s.ctx.Err() != nil:
		f.cause, f.text = "ended", "there was no time left"
	case errors.As(err, &network) && network.Timeout():
		f.cause, f.text = "timeout", fmt.Sprintf("no answer within %s", s.options.Timeout)
	case errors.Is(err, http.ErrSchemeMismatch):
		f.text, f.cure = "the receiver speaks http, not https", "check the URL"
	case errors.As(err, &cert):
		f.cause, f.text, f.cure = "certificate", foreign.Text(cert.Error()), "check the receiver's certificate"
	case errors.As(err, &dial):
		f.text = dial.Error()
	}
	return f
}
