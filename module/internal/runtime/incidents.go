package runtime

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// recordViolation logs a violation that was counted, and stores it in the history, if there is one. It does not wait.
func (rt *Runtime) recordViolation(o *Offence, t *violation.Terms, now violation.Result) {
	incidentLog.violation(rt, o, t.Name, now)
	rt.recordIncident(o.Client, history.Incident{
		First: o.At, Host: o.Site, Kind: history.KindViolation, Name: t.Name, Points: now.Points, RequestID: o.RequestID,
	})
}

// recordBan logs and stores a ban by a rule or a violation, and how long it is this time.
func (rt *Runtime) recordBan(p *Punishment, length time.Duration) {
	incidentLog.logger.Info("a client was banned", slog.String("rule", p.Rule), slog.String("ttl", length.String()),
		slog.String("request_id", p.RequestID),
		slog.Group("request", slog.String("client_ip", p.Client.String()), slog.String("host", cut(p.Site))))
	rt.recordIncident(p.Client, history.Incident{
		First: time.Now(), Host: p.Site, Kind: history.KindBan, Name: p.Rule, Seconds: int64(length / time.Second),
		RequestID: p.RequestID,
	})
}

// recordReport stores that a provider was told of a client, with the words for what of, and what became of it. The ID
// is that of the request that led to it.
func (rt *Runtime) recordReport(client netip.Addr, provider string, categories []string, result, requestID string) {
	rt.recordIncident(client, history.Incident{
		First: time.Now(), Kind: history.KindReport, Name: provider, Categories: categories, Result: result,
		RequestID: requestID,
	})
}

// digestDigits are enough to tell one configuration from another.
const digestDigits = 12

func (rt *Runtime) recordIncident(client netip.Addr, i history.Incident) {
	if rt.Recorder == nil {
		return
	}
	i.Config = rt.Digest[:min(len(rt.Digest), digestDigits)]
	rt.Recorder.RecordIncident(client, i)
}

// incidentLog logs violations and bans, for all configurations.
var incidentLog = incidents{logger: ProcessLogger("incidents")}

// incidents has a sample of each violation: their names are those of the configuration.
type incidents struct {
	logger  *slog.Logger
	samples sync.Map // by name: *throttle.Sample
}

// Of the violations of one name, so many are logged in a second, and then one in so many, as decisions are.
const (
	logFirst = 10
	logOneIn = 1000
)

// maxIncidentText is the longest text of a visitor that is logged.
const maxIncidentText = 200

// cut shortens a visitor's text.
func cut(text string) string { return text[:min(len(text), maxIncidentText)] }

func (l *incidents) violation(rt *Runtime, o *Offence, name string, now violation.Result) {
	found, ok := l.samples.Load(name)
	if !ok {
		found, _ = l.samples.LoadOrStore(name, new(throttle.Sample))
	}
	leftOut, take := found.(*throttle.Sample).Take(o.At.Unix(), logFirst, logOneIn)
	if !take {
		return
	}
	attrs := []any{
		slog.String("violation", name), slog.Float64("points", now.Points), slog.String("request_id", o.RequestID),
		slog.Group("request",
			slog.String("client_ip", o.Client.String()), slog.String("method", cut(o.Method)),
			slog.String("host", cut(o.Site)), slog.String("uri", cut(rt.privacy.Text(o.Path[:min(len(o.Path), 2*maxIncidentText)])))),
	}
	if o.Status != 0 {
		attrs = append(attrs, slog.Int("response", o.Status))
	}
	if leftOut > 0 {
		attrs = append(attrs, slog.Uint64("left_out", leftOut))
	}
	l.logger.Info("violation", attrs...)
}
