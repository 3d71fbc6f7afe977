package runtime

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
)

// TestTruncatedHistory holds that where visitors are stored as their network, nothing is told as if it were about one of them.
func TestTruncatedHistory(t *testing.T) {
	policy, err := privacy.Truncate(24, 64)
	if err != nil {
		t.Fatal(err)
	}
	rt := bare(t)
	rt.SetPrivacy(policy)
	for asked, want := range map[string]string{
		"203.0.113.7/32":  "", // an address, of which nobody knows
		"203.0.113.0/32":  "",
		"203.0.113.0/25":  "",
		"203.0.113.0/24":  "203.0.113.0/24",
		"203.0.0.0/16":    "203.0.0.0/16",
		"2001:db8::1/128": "2001:db8::/64", // nothing is cut off
		"2001:db8::/64":   "2001:db8::/64",
		"2001:db8::/48":   "2001:db8::/48",
		"127.0.0.1/32":    "127.0.0.1/32",
	} {
		got, err := rt.StoredAs(netip.MustParsePrefix(asked))
		switch {
		case want == "" && (!errors.Is(err, history.ErrQuery) || !strings.Contains(err.Error(), "ask for 203.0.113.0/24")):
			t.Errorf("%s: %v, %v", asked, got, err)
		case want != "" && (err != nil || got.String() != want):
			t.Errorf("%s: %v, want %s: %v", asked, got, want, err)
		}
	}

	reader := truncated{answers{}, policy}
	ctx := t.Context()
	changes := func(prefix string) error {
		_, err := reader.Changes(ctx, history.Query{Prefix: netip.MustParsePrefix(prefix)})
		return err
	}
	worst := func(networks bool) error {
		_, err := reader.Worst(ctx, history.Ranking{Networks: networks})
		return err
	}
	for what, err := range map[string]error{"changes": changes("203.0.113.0/24"), "addresses": worst(false)} {
		if !errors.Is(err, history.ErrQuery) || !strings.Contains(err.Error(), "privacy truncate") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{"changes of IPv6": changes("2001:db8::/64"), "networks": worst(true)} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// answers is a Reader that answers all with nothing.
type answers struct{ history.Reader }

func (answers) Changes(context.Context, history.Query) (history.Changes, error) {
	return history.Changes{}, nil
}

func (answers) Worst(context.Context, history.Ranking) (history.Worst, error) {
	return history.Worst{}, nil
}
