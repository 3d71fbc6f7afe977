package handler

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// DecisionLog is which of a site's decisions get an entry of their own in the log, with all that has led to them. The
// access log, where there is one, has a line for each request besides, with less.
type DecisionLog struct {
	// `blocked` logs requests that are limited, blocked, banned or dropped, or would be in observe mode; `all` logs those
	// that pass, too; `none` logs nothing. Default: `blocked`.
	Decisions string `json:"decisions,omitempty"`

	// How many decisions for one action by one rule are logged in a second. Default: 10.
	First int `json:"first,omitempty"`

	// Of those that follow in that second, one in so many is logged; 1 logs all. Each entry says how many were left out
	// since the one before. Default: 1000.
	OneIn int `json:"one_in,omitempty"`
}

// The defaults that config comments name.
const (
	defaultLogFirst = 10
	defaultLogOneIn = 1000
)

// DecisionWords are what a DecisionLog may log.
var DecisionWords = []string{"blocked", "all", "none"}

// Check reports what is wrong with the settings.
func (l *DecisionLog) Check() error {
	if l == nil {
		return nil
	}
	if l.Decisions != "" && !slices.Contains(DecisionWords, l.Decisions) {
		return fmt.Errorf("unknown log %q: use %s", l.Decisions, strings.Join(DecisionWords, ", "))
	}
	if l.First < 0 || l.OneIn < 0 {
		return fmt.Errorf("log sample %d %d: use numbers above 0, such as %d %d", l.First, l.OneIn, defaultLogFirst, defaultLogOneIn)
	}
	if l.Decisions == "none" && (l.First != 0 || l.OneIn != 0) {
		return errors.New("log none leaves nothing to sample: remove sample")
	}
	return nil
}

// decisionLog is the decision log of a site. The nil log writes nothing.
type decisionLog struct {
	logger  *zap.Logger
	privacy *privacy.Policy
	wanted  [reputation.NumActions]bool
	first   uint64
	oneIn   uint64
}

// newDecisionLog returns the decision log of a site.
func newDecisionLog(settings *DecisionLog, logger *zap.Logger, p *privacy.Policy) (*decisionLog, error) {
	if err := settings.Check(); err != nil {
		return nil, err
	}
	if settings == nil {
		settings = new(DecisionLog)
	}
	if settings.Decisions == "none" || !logger.Core().Enabled(zap.InfoLevel) {
		return nil, nil
	}
	d := &decisionLog{logger: logger, privacy: p, first: defaultLogFirst, oneIn: defaultLogOneIn}
	if settings.First != 0 {
		d.first = uint64(settings.First)
	}
	if settings.OneIn != 0 {
		d.oneIn = uint64(settings.OneIn)
	}
	for action := range d.wanted {
		d.wanted[action] = settings.Decisions == "all" || reputation.Action(action) != reputation.Pass
	}
	return d, nil
}

// log writes what was decided about a request, unless there is too much of its kind.
func (d *decisionLog) log(r *http.Request, v *visit) {
	if d == nil || !d.wanted[v.decision.action] {
		return
	}
	leftOut, take := v.decision.rule.samples[v.decision.action].take(time.Now().Unix(), d.first, d.oneIn)
	if !take {
		return
	}
	// what the names are, and that they stay, is in docs/logs.md
	fields := make([]zap.Field, 0, 5)
	fields = append(fields, zap.String("request_id", v.requestID))
	if v.trace.IsValid() {
		fields = append(fields, zap.String("trace_id", v.traceID()))
	}
	fields = append(fields,
		zap.Object("request", loggedRequest{r, d.privacy.Addr(v.client), d.privacy}),
		// a copy: an entry may be written when another handler has decided
		zap.Object("ip_reputation", explained{&visit{
			runtime: v.runtime, client: v.client, verdict: v.verdict, decision: v.decision,
		}}))
	if leftOut > 0 {
		fields = append(fields, zap.Uint64("left_out", leftOut))
	}
	d.logger.Info("decision", fields...)
}

// violation writes what came of a violation, unless there is too much of its kind. by is what shows that a foreign page
// has caused it.
func (d *decisionLog) violation(s *sample, r *http.Request, v *visit, name string, now violation.Result, by string) {
	if d == nil {
		return
	}
	leftOut, take := s.take(time.Now().Unix(), d.first, d.oneIn)
	if !take {
		return
	}
	fields := []zap.Field{
		zap.String("request_id", v.requestID),
		zap.Object("request", loggedRequest{r, d.privacy.Addr(v.client), d.privacy}),
		zap.String("violation", name[:min(len(name), maxLogged)]), zap.Bool("counted", now.Counted),
	}
	if now.Counted {
		fields = append(fields, zap.Float64("points", math.Round(now.Points*10)/10))
	} else {
		fields = append(fields, zap.String("why", string(now.Ignored)))
	}
	if now.Ignored == violation.IgnoredForeign {
		fields = append(fields, zap.String("foreign", by))
	}
	if leftOut > 0 {
		fields = append(fields, zap.Uint64("left_out", leftOut))
	}
	d.logger.Info("violation", fields...)
}

// sample counts the decisions of one kind. It holds no lock: where two requests begin a second together, a
// few entries more are written, and none is left out without being counted.
type sample struct {
	second  atomic.Int64
	count   atomic.Uint64 // in this second
	leftOut atomic.Uint64 // since the last entry
}

// take reports whether a decision is to be logged, and how many were left out before it.
func (s *sample) take(second int64, first, oneIn uint64) (leftOut uint64, ok bool) {
	if last := s.second.Load(); last != second && s.second.CompareAndSwap(last, second) {
		s.count.Store(0)
	}
	if n := s.count.Add(1); n <= first || (n-first)%oneIn == 0 {
		return s.leftOut.Swap(0), true
	}
	s.leftOut.Add(1)
	return 0, false
}

// loggedRequest writes the part of an entry that Caddy's access log has under the same name.
type loggedRequest struct {
	*http.Request
	client  string
	privacy *privacy.Policy
}

// The longest texts of visitors that are logged.
const (
	maxLogged     = 200
	maxLoggedText = 2 * maxLogged // is looked at for addresses before it is cut
)

// MarshalLogObject implements zapcore.ObjectMarshaler. The query is left out, since it may hold secrets.
func (r loggedRequest) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	original := originalOf(r.Request)
	if r.client != "" {
		enc.AddString("client_ip", r.client)
	}
	enc.AddString("method", r.text(original.Method))
	enc.AddString("host", r.text(r.Host))
	enc.AddString("uri", r.text(original.URL.EscapedPath()))
	return nil
}

// text is a text of the visitor's, of limited length.
func (r loggedRequest) text(s string) string {
	s = r.privacy.Text(s[:min(len(s), maxLoggedText)])
	return s[:min(len(s), maxLogged)]
}

// explained writes a visit with all that has led to what was decided.
type explained struct{ *visit }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (d explained) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	v := &d.verdict
	enc.AddString("origin", v.Origin.String())
	enc.AddFloat64("coverage", v.Coverage)
	if v.Categories != 0 {
		enc.AddString("categories", v.Categories.String())
	}
	if v.Facts.Nature.Some() {
		enc.AddString("nature", v.Facts.Nature.String())
	}
	if v.Facts.Country != "" {
		enc.AddString("country", v.Facts.Country)
	}
	if v.Facts.ASN != 0 {
		enc.AddUint32("asn", v.Facts.ASN)
	}
	if v.Facts.ASName != "" {
		enc.AddString("as_name", v.Facts.ASName)
	}
	if len(v.Reasons) > 0 {
		if err := enc.AddArray("sources", sources(v.Reasons)); err != nil {
			return err
		}
	}
	return d.visit.MarshalLogObject(enc)
}

// sources writes the reasons of a verdict one by one.
type sources []reputation.Reason

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (s sources) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	for i := range s {
		if err := enc.AppendObject(source{&s[i]}); err != nil {
			return err
		}
	}
	return nil
}

type source struct{ *reputation.Reason }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (s source) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("source", s.Source)
	enc.AddFloat64("points", math.Round(s.Points*10)/10)
	if s.Age > 0 {
		enc.AddInt64("age", int64(s.Age/time.Second))
	}
	if s.Network {
		enc.AddBool("network", true)
	}
	return nil
}
