// Package webhook delivers messages from a bounded queue to one URL, one at a time, with retries.
// It signs them according to Standard Webhooks 1.0 (https://www.standardwebhooks.com).
package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// Defaults of Options.
const (
	DefaultTimeout = 5 * time.Second
	DefaultRetries = 5
	DefaultQueue   = 100
)

// retryPauses are the pauses between attempts to deliver a message.
var retryPauses = backoff.Policy{First: time.Second, Most: 30 * time.Second}

const (
	retryJitter   = 0.2
	retryAfterMax = 5 * time.Minute // the longest pause that a receiver may ask for
)

// Options configure a Sender. URL and Secrets are required.
type Options struct {
	// URL receives the messages. Only its host is ever logged, since its path may be a secret, too.
	URL *url.URL

	// Header is sent with each message.
	Header http.Header

	// Secrets returns the secrets; each makes a signature. It is called for every attempt. Without
	// a secret, the attempt fails.
	Secrets func() []string

	// Timeout is how long one attempt may take. Default: 5s.
	Timeout time.Duration

	// Retries is how often a message is sent again after a failure.
	Retries int

	// Queue is how many messages may wait. When it is full, the oldest is dropped. Default: 100.
	Queue int

	// Logger receives messages for the operator. Default: slog.Default().
	Logger *slog.Logger

	// Transport sends the requests. Default: a transport of the Sender's own.
	Transport http.RoundTripper
}

// Message is one event to deliver.
type Message struct {
	// ID is the same for all attempts. It contains no full stop.
	ID string

	// Name is the name of the event, for the log.
	Name string

	// Body is the JSON.
	Body []byte
}

// Sender delivers messages. It is safe for concurrent use.
type Sender struct {
	options Options
	client  *http.Client
	log     *slog.Logger
	logged  throttle.Causes[string]

	ctx     context.Context // its end stops the worker
	cancel  context.CancelFunc
	noRetry chan struct{} // closed when there are no more retries
	wake    chan struct{}
	done    chan struct{} // closed when the worker has ended

	mu       sync.Mutex
	queue    []Message
	started  bool
	closed   bool
	draining bool // noRetry is closed
	dropped  int
}

// New returns a Sender. Its goroutine starts with the first message.
func New(o Options) *Sender {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Sender{
		options: o,
		client: &http.Client{
			Transport:     o.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log: o.Logger.With("host", o.URL.Host),
		ctx: ctx, cancel: cancel,
		noRetry: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

func newTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 64 << 10
	t.MaxIdleConnsPerHost = 1
	t.IdleConnTimeout = 30 * time.Second
	return t
}

// Send queues a message. It never blocks. After Close it does nothing.
func (s *Sender) Send(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if len(s.queue) >= s.options.Queue {
		s.queue = s.queue[1:]
		s.drop(1)
	}
	s.queue = append(s.queue, m)
	if !s.started {
		s.started = true
		go s.work()
	}
	s.wakeWorker()
}

// drop counts lost messages and logs them once a minute. The caller holds the lock.
func (s *Sender) drop(n int) {
	s.dropped += n
	if n > 0 && s.logged.Allow("dropped", time.Now()) {
		s.log.Warn("events are dropped: the receiver does not keep up, or does not answer",
			slog.Int("dropped", s.dropped))
	}
}

// Close refuses new messages. Queued messages are still delivered; Done reports when that has
// ended.
func (s *Sender) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !s.started {
		s.cancel()
		close(s.done)
	}
	s.closed = true
	s.wakeWorker()
}

// Drain makes one attempt for each remaining message, without retries.
func (s *Sender) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.draining = true
		close(s.noRetry)
	}
}

// Abort stops at once and drops the remaining messages. Call it after Close.
func (s *Sender) Abort() { s.cancel() }

// Done returns a channel that is closed after Close, when every message is delivered or lost.
func (s *Sender) Done() <-chan struct{} { return s.done }

// Longest returns how long the delivery of one message may take, without pauses that the receiver
// asks for.
func (s *Sender) Longest() time.Duration {
	total := s.options.Timeout
	for i := range s.options.Retries {
		total += s.options.Timeout + time.Duration(float64(retryPauses.Pause(i+1))*(1+retryJitter))
	}
	return total
}

func (s *Sender) wakeWorker() {
	select {
	case s.wake <- struct{}{}:
	default: // the worker is about to check anyway
	}
}

// next waits for the oldest message. It returns false if there will be none.
func (s *Sender) next() (Message, bool) {
	for s.ctx.Err() == nil {
		s.mu.Lock()
		if len(s.queue) > 0 {
			m := s.queue[0]
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return m, true
		}
		closed := s.closed
		s.mu.Unlock()
		if closed {
			break
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
		}
	}
	return Message{}, false
}

// work delivers messages until the Sender is closed and the queue is empty.
func (s *Sender) work() {
	defer close(s.done)
	defer s.client.CloseIdleConnections()
	defer s.cancel()
	for {
		m, ok := s.next()
		if !ok {
			break
		}
		s.deliver(m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(len(s.queue))
	s.queue = nil
}
