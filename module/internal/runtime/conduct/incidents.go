package conduct

import (
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// recordViolation stores a violation in the history, if there is one. It does not wait.
func (c *Conduct) recordViolation(o *Offence, t *violation.Terms, now violation.Result) {
	c.recordIncident(o.Client, history.Incident{
		First: o.At, Host: o.Site, Kind: history.KindViolation, Name: t.Name, Points: now.Points, RequestID: o.RequestID,
	})
}

// recordBan stores a ban by a rule or a violation.
func (c *Conduct) recordBan(p *ban.Punished) {
	if c == nil { // none serves
		return
	}
	cause := &p.Entry.Cause
	c.recordIncident(p.Client, history.Incident{
		First: time.Now(), Host: cause.Site, Kind: history.KindBan, Name: cause.Rule,
		Seconds: int64(p.Length() / time.Second), RequestID: cause.RequestID,
	})
}

// recordReport stores that a provider was told of a client, with the words for what of, and what became of it. The ID
// is that of the request that led to it.
func (c *Conduct) recordReport(client netip.Addr, provider string, categories []string, result, requestID string) {
	c.recordIncident(client, history.Incident{
		First: time.Now(), Kind: history.KindReport, Name: provider, Categories: categories, Result: result,
		RequestID: requestID,
	})
}

// digestDigits are enough to tell one configuration from another.
const digestDigits = 12

func (c *Conduct) recordIncident(client netip.Addr, i history.Incident) {
	if c.Recorder == nil {
		return
	}
	i.Config = c.Digest[:min(len(c.Digest), digestDigits)]
	c.Recorder.RecordIncident(client, i)
}
