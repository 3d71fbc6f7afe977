// Package crowdsec follows the decisions of a CrowdSec local API as a bouncer does, and pushes them
// to a list.
//
// The stream loses deletions: rows of the API's database vanish without one, and an answer that a
// proxy has swallowed counts as delivered. So decisions are known by their IDs, end by their own
// durations, and are read as a whole again every hour, and after each failure. An API whose database
// fails in the middle of an answer ends it in good form: the list takes a set that lacks most of what
// it had only when a second one says the same.
package crowdsec

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// Defaults and bounds of Config.Poll.
const (
	DefaultPoll = 10 * time.Second
	MinPoll     = time.Second
	MaxPoll     = 5 * time.Minute
)

const (
	// resync is how often all decisions are read again.
	resync       = time.Hour
	resyncJitter = 0.2

	// settle is how long after a start or a failure that is: an instance with the same key that is
	// about to end may have taken news, and an API that recovers may not have had all of them.
	settle = 5 * time.Minute

	// refusedPause is the pause after a refused key, unless another key comes.
	refusedPause = time.Minute
	jitter       = 0.25

	// An answer with more changes than these is read as a whole instead: that takes less memory.
	maxAdded   = 50_000
	maxDeleted = 200_000
)

// retry is how long to wait after failures.
var retry = backoff.Policy{First: time.Second, Most: time.Minute}

// scopes are what is asked for. Without them, an API answers with addresses and ranges only.
const scopes = "ip,range,as,country"

// Key is the key of the API as its store has it now.
type Key interface {
	// Await returns the key. It waits for the first one until ctx ends.
	Await(ctx context.Context) (string, error)
	// Changed returns a channel that is closed once the key changes.
	Changed() <-chan struct{}
}

// List takes the decisions: see feed.Set.
type List interface {
	Push(name string, c feed.Changes) (shown <-chan struct{}, err error)
	Replace(name string, all iter.Seq2[feed.Entry, error]) (shown <-chan struct{}, err error)
	PushFailed(name string, why error) error
	PartSizes(name string) ([]feed.PartSize, error)
}

// Config configures a Client.
type Config struct {
	// Name is the name of the list, and of the source in logs. The list has NumParts parts: see
	// MeaningOf.
	Name string

	// URL is where the API listens: http://127.0.0.1:8080, or the path of a socket.
	URL string

	// Key is the key of the API. Default: none, for an API that wants a certificate.
	Key Key

	// TLS is used where the URL begins with https. Default: the authorities of the system.
	TLS *tls.Config

	// Filter says which decisions count. Default: all.
	Filter Filter

	// Poll is the pause between two questions. Default: DefaultPoll.
	Poll time.Duration

	// Version is the version of the program, for the list of bouncers that the API keeps.
	Version string

	// Logger receives what operators need to know beside what the list logs.
	Logger *slog.Logger
}

// Client follows the decisions of one API. Run and Report do the work.
type Client struct {
	Config
	list    List
	base    *url.URL
	version string
	http    *http.Client
	refresh chan chan error // questions for a refresh: see Refresh
	traffic traffic
	started time.Time

	reported [numOrigins][numFamilies]bool // decisions that a report had; Report's own
}

// New returns a client. It calls nobody.
func New(c Config, list List) (*Client, error) {
	base, socket, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Poll < MinPoll || c.Poll > MaxPoll {
		return nil, fmt.Errorf("refresh %s: use %s to %s", c.Poll, MinPoll, MaxPoll)
	}
	return &Client{
		Config: c, list: list, base: base, version: versionOf(c.Version), refresh: make(chan chan error),
		http:    &http.Client{Transport: newTransport(socket, c.TLS), CheckRedirect: noRedirects},
		started: time.Now(),
	}, nil
}

// versionOf returns a version as it may stand in a User-Agent, which the API splits at the slash.
func versionOf(version string) string {
	safe := strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r > '~' {
			return '-'
		}
		return r
	}, version)
	if safe == "" {
		return "unknown"
	}
	return safe[:min(len(safe), 100)]
}

// Run asks for decisions until ctx ends.
func (c *Client) Run(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	var s state
	var asked chan error // who waits for the result
	for {
		err := c.pull(ctx, &s)
		if ctx.Err() != nil {
			return
		}
		if asked != nil {
			asked <- err // has room
		}
		timer := time.NewTimer(c.pause(&s, err))
		asked = nil
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-c.newKey(err):
		case asked = <-c.refresh:
			s.complete = false
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// Refresh reads all decisions again, and waits for the result until ctx ends.
func (c *Client) Refresh(ctx context.Context) error {
	result := make(chan error, 1)
	select {
	case c.refresh <- result:
	case <-ctx.Done():
		return fmt.Errorf("refreshing %s: an earlier question is still running: %w", c.Name, ctx.Err())
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("refreshing %s: %w", c.Name, ctx.Err())
	}
}

// newKey returns a channel that is closed when another key may help; it is nil when the key is not
// what failed.
func (c *Client) newKey(err error) <-chan struct{} {
	if c.Key == nil || !errors.Is(err, ErrKey) {
		return nil
	}
	return c.Key.Changed()
}

// state is what Run knows between two questions.
type state struct {
	complete bool      // the list has what the API had, but for what changed since
	whole    time.Time // when all decisions are read again
	failures int       // in a row
}

func (c *Client) pause(s *state, err error) time.Duration {
	switch {
	case err == nil:
		s.failures = 0
		return c.Poll
	case errors.Is(err, ErrKey), feed.ResultOf(err) == feed.ResultShrunk:
		s.failures++
		return backoff.Jitter(refusedPause, 1, 1+jitter)
	}
	s.failures++
	return backoff.Jitter(retry.Pause(s.failures), 1-jitter, 1+jitter)
}

// pull asks for decisions once: for all of them, or for what has changed.
func (c *Client) pull(ctx context.Context, s *state) error {
	wasComplete := s.complete
	startup := !s.complete || !time.Now().Before(s.whole)
	s.complete = false // unless this succeeds: the API counts an answer that is lost as delivered
	err := c.ask(ctx, startup)
	if errors.Is(err, errTooMuch) {
		startup = true
		err = c.ask(ctx, true)
	}
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, errFull): // the list has recorded it; the answer itself is good
	case feed.ResultOf(err) == feed.ResultShrunk:
		return err // the list has recorded it
	case err != nil:
		_ = c.list.PushFailed(c.Name, err) // fails only when the list is closed
		return err
	}
	s.complete = true
	if startup {
		pause := resync
		if !wasComplete {
			pause = settle
		}
		s.whole = time.Now().Add(backoff.Jitter(pause, 1-resyncJitter, 1))
	}
	if !wasComplete && s.failures > 0 {
		c.Logger.Info("crowdsec answers again", "feed", c.Name)
	}
	return nil
}

var (
	// errTooMuch is the error for an answer with more changes than are held at once.
	errTooMuch = errors.New("too many changes at once")

	// errFull is the error for decisions for which the list has no place.
	errFull = errors.New("the list is full")
)

// ask asks one question, and pushes the answer to the list.
func (c *Client) ask(ctx context.Context, startup bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.send(ctx, http.MethodGet, fmt.Sprintf("decisions/stream?startup=%t&scopes=%s&dedup=false", startup, scopes), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp)
	}
	received := time.Now()
	body := newPatientBody(ctx, cancel, resp.Body)
	defer body.stop()
	if startup {
		_, err = c.list.Replace(c.Name, c.all(newDecoder(body), received))
	} else {
		var changes feed.Changes
		if changes, err = c.changes(newDecoder(body), received); err != nil {
			return err
		}
		_, err = c.list.Push(c.Name, changes)
	}
	if feed.ResultOf(err) == feed.ResultTooLarge {
		return errFull
	}
	return err
}

// all yields the new decisions of an answer while it is read. At a start, those that are deleted
// were never known here.
func (c *Client) all(d *decoder, received time.Time) iter.Seq2[feed.Entry, error] {
	stop := errors.New("no more are wanted")
	return func(yield func(feed.Entry, error) bool) {
		r := newReader(c.Filter)
		err := d.decode(func(deleted bool, x *decision) error {
			if deleted {
				return nil
			}
			e, err := r.entry(x, received)
			if errors.Is(err, errNotWanted) || yield(e, err) {
				return nil
			}
			return stop
		})
		if err != nil && !errors.Is(err, stop) {
			yield(feed.Entry{}, err)
		}
	}
}

// changes reads an answer with what has changed.
func (c *Client) changes(d *decoder, received time.Time) (all feed.Changes, err error) {
	r := newReader(c.Filter)
	err = d.decode(func(deleted bool, x *decision) error {
		e, why := r.entry(x, received)
		switch {
		case len(all.Deleted) == maxDeleted || len(all.Added) == maxAdded:
			return errTooMuch
		case deleted, errors.Is(why, errNotWanted): // it may have been wanted before
			all.Deleted = append(all.Deleted, x.id)
		case why != nil:
			all.Deleted = append(all.Deleted, x.id) // it may have been understood before
			all.LeftOut++
			all.FirstLeftOut = cmp.Or(all.FirstLeftOut, why)
		default:
			all.Added = append(all.Added, e)
		}
		return nil
	})
	return all, err
}
