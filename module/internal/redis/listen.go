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
)

// listenPatience is how long a subscription may be silent before it is asked whether it is alive, and then before it is
// given up.
const listenPatience = 2 * time.Second

// message tells of one note that was posted, or, when it is empty, that from now on none is missed.
type message struct {
	Revision int64  `json:"revision,string"`
	Name     string `json:"name"`
	Text     string `json:"note"`
}

// subscription hears the messages of a board until it is closed, or broken, when heard is closed.
type subscription struct {
	heard  chan message
	sub    *goredis.PubSub
	done   sync.WaitGroup
	closed atomic.Bool
}

// listen subscribes to the board.
func (b *board) listen(ctx context.Context) *subscription {
	heard := make(chan message, atOnce)
	s := &subscription{heard: heard, sub: b.rdb.Subscribe(ctx)}
	s.done.Go(func() {
		defer close(heard)
		defer func() {
			if r := recover(); r != nil {
				b.log.Error("listening to the other instances panicked; this is a bug", slog.Any("panic", r))
			}
		}()
		err := s.sub.Subscribe(ctx, b.channel())
		if err == nil {
			err = s.receive(ctx, heard, func() { b.hears(nil) })
		}
		if err != nil && ctx.Err() == nil && !s.closed.Load() {
			b.hears(err)
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

// receive hands messages on. It ends when the subscription is closed, when it breaks or when Redis does not say anything.
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
			if json.Unmarshal([]byte(received.Payload), &m) != nil || m.Name == "" {
				continue // whoever may publish can say anything
			}
		default:
			continue
		}
		select {
		case heard <- m:
		default: // the revision shows that one was missed
		}
	}
}
