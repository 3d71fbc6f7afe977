package recorder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// TestOutage holds how a store is tried again: less and less often, at once when it is said to be back, and in order.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(t, Options{Dir: t.TempDir()})
		store := &shelf{}
		store.answers(func(*history.Batch) error { return fmt.Errorf("dial: %w", history.ErrUnavailable) })
		k.Use(Settings{Store: store})
		k.Start()
		for n := range 3 {
			k.Record(request(byte(n)))
			time.Sleep(10*time.Second + time.Millisecond)
		}
		calls := store.called()
		time.Sleep(time.Minute)
		if each := store.called() - calls; each < 9 || each > 16 {
			t.Errorf("it was tried %d times in a minute", each)
		}
		if s := k.Status(); s.Waiting != 3 || s.Spool.Batches != 3 || s.Store == nil || s.Store.Error != "dial: "+history.ErrUnavailable.Error() {
			t.Errorf("the status is %+v, %+v", s, s.Store)
		}
		store.answers(nil)
		k.Wake()
		synctest.Wait()
		if s := k.Status(); s.Waiting != 0 || s.Written != 3 || s.Oldest != nil || s.Spool.Bytes != 0 || s.Store != nil {
			t.Errorf("the status is %+v, %+v", s, s.Store)
		}
		for i, b := range store.all {
			if low := b.Decisions[0].Address.Addr().As4()[3]; int(low) != i {
				t.Errorf("batch %d is that of request %d", i, low)
			}
		}
		if k.log.String() != "" {
			t.Errorf("a store that says by itself that it is away is logged:\n%s", &k.log)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestStoreAnswers holds what becomes of a batch.
func TestStoreAnswers(t *testing.T) {
	tests := map[string]struct {
		answer  func(calls int) (history.Stored, error)
		written int64
		dropped Drop
		log     string
		calls   int
	}{
		"stored":    {answer: func(int) (history.Stored, error) { return history.Stored{Entries: 3}, nil }, written: 3, calls: 1},
		"expired":   {answer: func(int) (history.Stored, error) { return history.Stored{Entries: 1, Expired: 2}, nil }, written: 1, dropped: DropExpired, calls: 1},
		"a bad row": {answer: func(int) (history.Stored, error) { return history.Stored{Entries: 2, Rejected: 1}, nil }, written: 2, dropped: DropRejected, calls: 1},
		"rejected": {answer: func(int) (history.Stored, error) {
			return history.Stored{}, fmt.Errorf("22P05: %w", history.ErrRejected)
		}, dropped: DropRejected, log: "level=ERROR msg=\"the database can never take a part of the history, which is dropped\" entries=3 error=\"22P05: ", calls: 1},
		"a panic": {answer: func(calls int) (history.Stored, error) {
			if calls == 1 {
				panic("once")
			}
			return history.Stored{Entries: 3}, nil
		}, written: 3, log: "storing the history panicked; this is a bug\" panic=once", calls: 2},
		"fails by itself": {answer: func(int) (history.Stored, error) { return history.Stored{}, errors.New("a trigger") }, dropped: DropRejected, log: "a trigger", calls: maxFailures},
		"panics":          {answer: func(int) (history.Stored, error) { panic("always") }, dropped: DropRejected, log: "panic=always", calls: maxPanics},
		"another error": {answer: func(calls int) (history.Stored, error) {
			if calls < 4 {
				return history.Stored{}, errors.New("the disk is full")
			}
			return history.Stored{Entries: 3}, nil
		}, written: 3, log: "level=WARN msg=\"the history waits: the database did not take a batch, which is sent again\" error=\"the disk is full\"", calls: 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newRig(t, Options{Dir: t.TempDir()})
				store := &answering{answer: test.answer}
				k.Use(Settings{Store: store})
				k.Start()
				for range 3 {
					k.Record(request(1))
				}
				time.Sleep(2 * time.Minute)
				want := Counts{Written: test.written}
				if rest := 3 - test.written; rest > 0 {
					want.Dropped[test.dropped] = rest
				}
				if diff := cmp.Diff(want, k.Counts()); diff != "" {
					t.Errorf("counts differ (-want +got):\n%s", diff)
				}
				if log := k.log.String(); !strings.Contains(log, test.log) || test.log == "" && log != "" {
					t.Errorf("the log is:\n%s", log)
				}
				if store.calls != test.calls {
					t.Errorf("%d calls, want %d", store.calls, test.calls)
				}
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// answering is a Store that answers as a test says, by how often it was called.
type answering struct {
	calls  int
	answer func(calls int) (history.Stored, error)
}

func (s *answering) Write(context.Context, *history.Batch) (history.Stored, error) {
	s.calls++
	return s.answer(s.calls)
}
