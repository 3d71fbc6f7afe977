package limit

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func equal[T comparable](t interface{ Errorf(string, ...any) }, what string, got, want T) {
	if got != want {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

// rule returns the rule of a rate as operators write it.
func rule(text string, parts ...string) Rule {
	r, err := rate.Parse(text)
	if err != nil {
		panic(err)
	}
	made, err := NewRule(r, parts...)
	if err != nil {
		panic(err)
	}
	return made
}

// answering is a store that allows everything.
type answering struct{}

func (answering) TakeTokens(context.Context, Batch) (bool, time.Duration, error) {
	return true, 0, nil
}

// setOf returns the set of a bucket, and its tag there.
func setOf(l *Local, r Rule, s Subject) (*set, uint64) {
	p := l.place(r, s)
	return &l.sets[p.set], p.tag
}
