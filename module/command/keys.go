package command

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

func (c *console) keysCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keys [--json]",
		Short: "Lists keys and passwords, and when they end",
		Long: `
Lists the keys of providers and feeds, and the other secrets but those of
webhooks, the one that ends first before the others. Keys are shown by their
fingerprints, as in logs and metrics, passwords by nothing; with where they come
from, whether they are in use, and how many days are left.
The exit code is 0, whatever the state of the keys.
`,
		Example: `  $ caddy ip-reputation keys`,
		Args:    exactly(noArguments, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(c, cmd, http.MethodGet, "keys", nil, (*page).keys)
		},
	}
}

func (p *page) keys(keys []adminapi.Key) {
	if len(keys) == 0 {
		p.row("there are no keys")
		return
	}
	p.row("OF", "KEY", "STATE", "ENDS", "REFRESHED", "SOURCE")
	for _, k := range keys {
		p.row(k.Provider, cmp.Or(k.Fingerprint, "-"), p.keyState(k), keyEnd(k), p.keyAge(k),
			cmp.Or(k.Source, "the configuration itself"))
	}
	for _, k := range keys {
		if k.Error != "" {
			p.warning(fmt.Sprintf("%s, %s: %s", k.Provider, cmp.Or(k.Source, "the configuration itself"), k.Error))
		}
	}
}

func (p *page) keyState(k adminapi.Key) string {
	switch k.State {
	case health.KeyInUse:
		if k.NotAsked {
			return "not asked yet"
		}
		return "in use"
	case health.KeyInReserve:
		return "in reserve"
	case health.KeyWaiting:
		return "waiting for its first value"
	case health.KeyIsRefused:
		return "refused"
	case health.KeyUnfit:
		return "too short: nobody is let in with it"
	case health.KeyOver:
		return "ended: nobody is let in with it"
	case health.KeySetAside:
		return fmt.Sprintf("refused, set aside since %s, tried again in %s",
			health.FormatTime(k.SetAside), span(k.Retry.Sub(p.now)))
	}
	return string(k.State)
}

func keyEnd(k adminapi.Key) string {
	switch {
	case k.Expires.IsZero() || k.DaysLeft == nil:
		return "not known"
	case *k.DaysLeft < 0:
		return "ENDED " + health.FormatTime(k.Expires)
	case k.Lease:
		return health.FormatTime(k.Expires) + ", renewed by itself"
	}
	return fmt.Sprintf("%s, %d days left", health.FormatTime(k.Expires), *k.DaysLeft)
}

func (p *page) keyAge(k adminapi.Key) string {
	if k.Refreshed.IsZero() {
		return "never"
	}
	return span(p.now.Sub(k.Refreshed)) + " ago"
}
