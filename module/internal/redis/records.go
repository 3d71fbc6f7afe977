package redis

import (
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The record of a subject is a hash with one field per source, so that two instances do not
// overwrite each other's reports. Its values are readable. The subject is in braces: a Cluster then
// keeps all its keys on one server.
var (
	//go:embed fields.lua
	fieldsText string
	//go:embed load.lua
	loadText string
	//go:embed claim.lua
	claimText string
	//go:embed keep.lua
	keepText string
	//go:embed fail.lua
	failText string

	claiming = goredis.NewScript(fieldsText + claimText)
	keeping  = goredis.NewScript(fieldsText + keepText)
	failing  = goredis.NewScript(failText)
)

const (
	// keepAfterDue is how long a report is stored after it was due for renewal. It still counts,
	// with falling weight, while its source cannot answer.
	keepAfterDue = 7 * 24 * time.Hour

	// maxReport is the maximum size of a report in Redis. A longer one is not ours.
	maxReport = 4096

	// maxName is the maximum size of the name of an autonomous system in a report.
	maxName = 500

	// readableTime is the format of times. They are always in UTC, so that they can be compared as
	// texts.
	readableTime = "2006-01-02T15:04:05Z"
)

func (c *Client) recordKey(subject netip.Prefix) string {
	return c.key("{" + subject.String() + "}:record")
}

func (c *Client) askingKey(subject netip.Prefix, source string) string {
	return c.key("{" + subject.String() + "}:asking:" + source)
}

// Load calls found with the stored reports of the given sources on each of the subjects that has
// any. It is one exchange. found must not use the record after it returns.
func (c *Client) Load(
	ctx context.Context, keys []record.Key, sources []string, found func(record.Key, *record.Record),
) error {
	args := []any{maxReport}
	for _, source := range sources {
		args = append(args, source)
	}
	replies := make([]*goredis.Cmd, len(keys))
	err := c.do(ctx, func(ctx context.Context) error {
		_, err := c.rdb.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for i, key := range keys {
				replies[i] = p.Eval(ctx, fieldsText+loadText, []string{c.recordKey(key.Subject())}, args...)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	var rec record.Record
	for i, key := range keys {
		rec.Reset()
		values, _ := replies[i].Val().([]any)
		for j, value := range values[:min(len(values), len(sources))] {
			if text, ok := value.(string); ok {
				c.restore(&rec, sources[j], text)
			}
		}
		if !rec.Empty() {
			found(key, &rec)
		}
	}
	return nil
}

// Claim returns the stored reports of the given sources on a subject, and the sources that the
// caller must ask now. No other instance gets those until the lease ends, or until Keep or Fail. A
// source without a report or a failure that is not among them is being asked by another instance:
// claim it again later.
func (c *Client) Claim(
	ctx context.Context, key record.Key, sources []string, lease time.Duration,
) (rec record.Record, mine []string, err error) {
	subject, now := key.Subject(), c.redisNow()
	keys := make([]string, 1, 1+len(sources))
	keys[0] = c.recordKey(subject)
	args := []any{
		c.token, lease.Milliseconds(), readable(now), readable(c.latest()), readable(now.Add(record.MaxTTL)), maxReport,
	}
	for _, source := range sources {
		keys = append(keys, c.askingKey(subject, source))
		args = append(args, source)
	}
	answer, err := c.run(ctx, claiming, keys, args...)
	if err != nil {
		return rec, nil, err
	}
	list, _ := answer.([]any)
	if len(list) != 2*len(sources) {
		return rec, nil, fmt.Errorf("redis answered a claim of %d sources with %d values", len(sources), len(list))
	}
	for i, source := range sources {
		text, _ := list[2*i].(string)
		readable := c.restore(&rec, source, text)
		switch follows := list[2*i+1].(type) {
		case int64:
			pause := min(time.Duration(max(follows, 0))*time.Millisecond, record.MaxPause)
			fail(&rec, record.IDOf(source), c.now().Add(pause))
		case string:
			if follows == "ask" || follows == "known" && !readable {
				mine = append(mine, source)
			}
		}
	}
	return rec, mine, nil
}

// Store stores the report of a source on a subject, unless a newer one is stored, and releases the claim.
func (c *Client) Store(
	ctx context.Context, key record.Key, source string, r reputation.Report, fetched, due time.Time,
) error {
	ahead := c.ahead()
	fetched, due = fetched.Add(ahead), record.Earlier(due, fetched.Add(record.MaxTTL)).Add(ahead)
	text, err := json.Marshal(storedOf(r, fetched, due))
	if err == nil && len(text) > maxReport {
		err = fmt.Errorf("it has %d bytes, %d at most can be stored", len(text), maxReport)
	}
	if err != nil {
		return fmt.Errorf("encoding the report of %s: %w", source, err)
	}
	subject := key.Subject()
	expiry := due.Sub(c.redisNow()) + keepAfterDue
	_, err = c.run(ctx, keeping, []string{c.recordKey(subject), c.askingKey(subject, source)},
		c.token, source, text, readable(fetched), max(expiry.Milliseconds(), 1), readable(c.latest()), maxReport)
	return err
}

// Fail releases a claim without a report. No instance asks the source about the subject again
// before retry has passed; if retry is 0, any may ask at once.
func (c *Client) Fail(ctx context.Context, key record.Key, source string, retry time.Duration) error {
	_, err := c.run(ctx, failing, []string{c.askingKey(key.Subject(), source)}, c.token, retry.Milliseconds())
	return err
}

// Forget deletes the reports and failures of the given sources on a subject, and reports whether
// there was a report.
func (c *Client) Forget(ctx context.Context, key record.Key, sources []string) (found bool, err error) {
	subject := key.Subject()
	var marks []string
	for _, source := range sources {
		marks = append(marks, c.askingKey(subject, source))
	}
	err = c.do(ctx, func(ctx context.Context) error {
		n, err := c.rdb.Del(ctx, c.recordKey(subject)).Result()
		found = n > 0
		if err == nil && len(marks) > 0 {
			err = c.rdb.Del(ctx, marks...).Err()
		}
		return err
	})
	return found, err
}

// stored is a report in the format of Redis.
type stored struct {
	Severity   float64               `json:"severity"`
	Confidence float64               `json:"confidence"`
	Categories reputation.Categories `json:"categories,omitempty"`
	Country    string                `json:"country,omitempty"`
	ASN        uint32                `json:"asn,omitempty"`
	ASName     string                `json:"as_name,omitempty"`
	Network    string                `json:"network,omitempty"`
	Nature     reputation.Nature     `json:"nature,omitzero"`
	Seen       string                `json:"seen,omitempty"`
	Fetched    string                `json:"fetched"`
	Due        string                `json:"due"`
}

func storedOf(r reputation.Report, fetched, due time.Time) stored {
	s := stored{
		Severity: number(r.Severity), Confidence: number(r.Confidence), Categories: r.Categories,
		Country: r.Facts.Country, ASN: r.Facts.ASN, ASName: r.Facts.ASName, Nature: r.Facts.Nature,
		Fetched: readable(fetched), Due: readable(due),
	}
	if len(s.ASName) > maxName {
		s.ASName = "" // only people read it, and the report must not be too long because of it
	}
	if r.Facts.Network.IsValid() {
		s.Network = r.Facts.Network.String()
	}
	if !r.LastSeen.IsZero() {
		s.Seen = readable(r.LastSeen) // by the clock of the service
	}
	return s
}

// number returns f, limited to -1 to 1; JSON has no NaN or infinity.
func number(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return min(max(f, -1), 1)
}

// restore adds a stored report to the record. It returns false if the report is damaged or from the
// future: other programs can write to Redis.
func (c *Client) restore(rec *record.Record, source, text string) bool {
	var s stored
	if len(text) > maxReport || json.Unmarshal([]byte(text), &s) != nil {
		return false
	}
	fetched, err := time.Parse(readableTime, s.Fetched)
	if err != nil || fetched.Unix() <= 0 || fetched.After(c.latest()) {
		return false
	}
	due, err := time.Parse(readableTime, s.Due)
	if err != nil || due.After(fetched.Add(record.MaxTTL)) {
		return false
	}
	ahead := c.ahead()
	fetched, due = fetched.Add(-ahead), due.Add(-ahead)
	r := reputation.Report{Severity: s.Severity, Confidence: s.Confidence, Categories: s.Categories}
	if seen, err := time.Parse(readableTime, s.Seen); err == nil {
		r.LastSeen = seen.Add(-ahead)
	}
	r.Facts = reputation.Facts{Country: s.Country, ASN: s.ASN, Nature: s.Nature}
	rec.Learn(record.Pack(record.IDOf(source), r, fetched, due), r.Facts)
	return true
}

// fail records that a source should not be asked before a time. Its last report stays.
func fail(rec *record.Record, source record.SourceID, until time.Time) {
	a := record.Answer{Source: source}
	if last := rec.Find(source); last != nil {
		a = *last
	}
	a.Failed, a.Due = true, record.Seconds(until)
	rec.Set(a)
}

func readable(t time.Time) string { return t.UTC().Format(readableTime) }
