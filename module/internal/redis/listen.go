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

// subscription receives the messages of a map until it is closed or breaks. Then it closes heard.
type subscription struct {
	heard  chan message
	sub    *goredis.PubSub
	done   sync.WaitGroup
	closed atomic.Bool
}

// listen subscribes to the messages of the map.
func (f *follower) listen(ctx context.Context) *subscription {
	heard := make(chan message, maxBatch)
	s := &subscription{heard: heard, sub: f.rdb.Subscribe(ctx)}
	s.done.Go(func() {
		defer close(heard)
		defer func() {
			if r := recover(); r != nil {
				f.log.Error("listening to the other instances panicked; this is a bug", slog.Any("panic", r))
			}
		}()
		err := s.sub.Subscribe(ctx, f.channel())
		if err == nil {
			err = s.receive(ctx, heard, func() { f.setSubscribed(nil) })
		}
		if err != nil && ctx.Err() == nil && !s.closed.Load() {
			f.setSubscribed(err)
		}
	})
	return s
}

// close ends the subscription. Closing again does nothing.
func (s *subscription) close() {
	if !s.closed.Swap(true) {
		_ = s.sub.Close() // ends the receiver
	}
	s.done.Wait()
}

// receive forwards messages until the subscription is closed or breaks, or Redis does not answer a
// ping.
func (s *subscription) receive(ctx context.Context, heard chan<- message, subscribed func()) error {
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
		var m message
		switch received := received.(type) {
		case *goredis.Subscription:
			subscribed()
		case *goredis.Message:
			if len(received.Payload) > maxPayload || json.Unmarshal([]byte(received.Payload), &m) != nil || m.Name == "" {
				continue // not a message of an instance: other clients may publish, too
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
