package quota

import (
	"context"
	"fmt"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestNotAsked proves that a provider and a key count as asked with the first call that has ended, whatever came of it,
// and not with one that was never made.
func TestNotAsked(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		asked bool
	}{
		"it answers":          {nil, true},
		"it knows nothing":    {reputation.ErrUnknown, true},
		"it refuses the key":  {reputation.ErrRefused, true},
		"it is throttled":     {&reputation.ThrottledError{}, true},
		"it fails":            {fmt.Errorf("no route"), true},
		"no request was made": {reputation.ErrUnsupported, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) { return reputation.Report{}, tc.err })
			b := NewBudget()
			g := New("a", p, Terms{}, b, memory(), quiet())
			if !g.Status().NotAsked || !g.Status().Up || g.Asked("one") {
				t.Fatalf("at first: %+v, key asked %t", g.Status(), g.Asked("one"))
			}
			_, _ = g.Check(t.Context(), query("one"))
			if g.Status().NotAsked == tc.asked || g.Asked("one") != tc.asked || g.Asked("two") {
				t.Errorf("then: %+v, keys asked %t and %t", g.Status(), g.Asked("one"), g.Asked("two"))
			}
			reloaded := New("a", p, Terms{}, b, memory(), quiet())
			if reloaded.Status().NotAsked == tc.asked {
				t.Error("a reload forgets it")
			}
		})
	}
}

func TestAskedKeysAreBounded(t *testing.T) {
	b := NewBudget()
	for key := range uint64(1000) {
		b.setAsked(key)
		b.setAsked(key)
		if len(b.asked) > maxKeys || !b.asked[key] {
			t.Fatalf("%d keys are remembered, the last one: %t", len(b.asked), b.asked[key])
		}
	}
}
