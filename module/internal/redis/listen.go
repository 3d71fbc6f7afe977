package redis

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// listenPatience is how long a subscription may be silent before it is pinged, and how long the
// ping may remain unanswered.
const listenPatience = 2 * time.Second

// maxPayload is the maximum size of a message: JSON can escape each byte of a text as six.
const maxPayload = 6*(maxText+replica.MaxName) + 64

// message is an entry that was posted. An empty message means that the subscription has begun.
type message struct {
	Revision int64  `json:"revision,string"`
	Name     string `json:"name"`
	Text     string `json:"note"`
}

// readMessage reads the message of an entry, which anybody may have sent.
func readMessage(text string) (m message, ok bool) {
	if len(text) > maxPayload || json.Unmarshal([]byte(text), &m) != nil || m.Name == "" {
		return message{}, false
	}
	return m, true
}

// subscription receives the messages of a channel until it is closed or breaks. Then it closes heard.
// A zero message means that it has begun.
type subscription[T any] struct {
	heard  chan T
	read   func(text string) (T, bool)
	sub    *goredis.PubSub
	done   sync.WaitGroup
	closed atomic.Bool
}

// listen subscribes to a channel. It leaves out what read does not take for a message of an instance:
// other clients may publish, too.
func listen[T any](ctx context.Context, c *Client, channel string, read func(text string) (T, bool)) *subscription[T] {
	heard := make(chan T, maxBatch)
	s := &subscription[T]{heard: heard, read: read, sub: c.rdb.Subscribe(ctx)}
	s.done.Go(func() {
		defer close(heard)
		defer func() {
			if r := recover(); r != nil {
				c.log.Error("listening to the other instances panicked; this is a bug", slog.Any("panic", r))
			}
		}()
		err := s.sub.Subscribe(ctx, channel)
		if err == nil {
			err = s.receive(ctx, heard, func() { c.setSubscribed(nil) })
		}
		if err != nil && ctx.Err() == nil && !s.closed.Load() {
			c.setSubscribed(err)
		}
	})
	return s
}

// close ends the subscription. Closing again does nothing.
func (s *subscription[T]) close() {
	if !s.closed.Swap(true) {
		_ = s.sub.Close() // ends the receiver
	}
	s.done.Wait()
}

// receive forwards messages until the subscription is closed or breaks, or Redis does not answer a
// ping.
func (s *subscription[T]) receive(ctx context.Context, heard chan<- T, subscribed func()) error {
	silent := false
	for {
		received, err := s.sub.ReceiveTimeout(ctx, listenPatience)
		var network net.Error
		switch {
		case errors.As(err, &network) && network.Timeout() && !silent:
			silent = true
			if err := s.sub.Ping(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		silent = false
		var m T
		switch received := received.(type) {
		case *goredis.Subscription:
			subscribed()
		case *goredis.Message:
			var ok bool
			if m, ok = s.read(received.Payload); !ok {
				continue
			}
		default:
			continue
		}
		select {
		case heard <- m:
		default: // dropped; the revision shows that one was missed
		}
	}
}
