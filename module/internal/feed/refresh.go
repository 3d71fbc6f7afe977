package feed

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Refresh refreshes one list now, and returns once the snapshot has the result. A publisher gets at
// most one request a minute, and none during a pause that it asked for: the error is then
// ErrTooSoon. An unknown name is ErrNoSuchFeed.
func (s *Set) Refresh(ctx context.Context, name string) error {
	l, err := s.find(name)
	if err != nil {
		return err
	}
	return s.refresh(ctx, l)
}

// Accept is Refresh, and believes the list even if it lost more than Spec.MaxShrink allows. After a refresh that
// refused such a list it does not come too soon.
func (s *Set) Accept(ctx context.Context, name string) error {
	l, err := s.find(name)
	if err != nil {
		return err
	}
	accepting := func(accepting bool) {
		l.mu.Lock()
		l.st.accepting = accepting
		l.mu.Unlock()
	}
	accepting(true)
	defer accepting(false)
	return s.refresh(ctx, l)
}

func (s *Set) find(name string) (*list, error) {
	for _, l := range s.lists {
		if l.spec.Name == name {
			return l, nil
		}
	}
	return nil, fmt.Errorf("refreshing %s: %w", name, ErrNoSuchFeed)
}

func (s *Set) refresh(ctx context.Context, l *list) error {
	switch l.spec.kind() {
	case KindValues:
		return nil
	case KindPushed:
		return fmt.Errorf("refreshing %s: %w; only its source can refresh it", l.spec.Name, ErrPushed)
	}
	s.mu.Lock()
	if s.closed || !s.started {
		s.mu.Unlock()
		return fmt.Errorf("refreshing %s: %w", l.spec.Name, ErrClosed)
	}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	shown, err := l.refresh(ctx, (*list).tooSoon)
	for elsewhere := (*elsewhereError)(nil); errors.As(err, &elsewhere); {
		select {
		case <-time.After(elsewhere.pause):
			shown, err = l.refresh(ctx, (*list).tooSoon)
		case <-ctx.Done():
			return err
		}
	}
	if err != nil || shown == nil {
		return err
	}
	select {
	case <-shown:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("refreshing %s: %w", l.spec.Name, ctx.Err())
	}
}
