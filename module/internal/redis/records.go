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

// The record of a subject is a hash with a field for each source, so that two instances never overwrite each other, and
// values that a person can read. The subject stands in braces: in a Cluster, all that is about it is on one server.
var (
	//go:embed claim.lua
	claimText string
	//go:embed keep.lua
	keepText string
	//go:embed fail.lua
	failText string

	claiming = goredis.NewScript(claimText)
	keeping  = goredis.NewScript(keepText)
	failing  = goredis.NewScript(failText)
)

const (
	// keepAfterDue is how long a report stays after it should have been renewed: it goes on counting, less and less, while
	// its source cannot answer.
	keepAfterDue = 7 * 24 * time.Hour

	// readableTime is how times are written. They are always in UTC and so compare as texts.
	readableTime = "2006-01-02T15:04:05Z"
)

func (c *Client) recordKey(subject netip.Prefix) string {
	return c.key("{" + subject.String() + "}:record")
}

func (c *Client) askingKey(subject netip.Prefix, source string) string {
	return c.key("{" + subject.String() + "}:asking:" + source)
}

// Load returns what instances have learnt of a subject from the given sources.
func (c *Client) Load(ctx context.Context, key record.Key, sources []string) (rec record.Record, err error) {
	err = c.do(ctx, func(ctx context.Context) error {
		values, err := c.rdb.HMGet(ctx, c.recordKey(key.Subject()), sources...).Result()
		for i, value := range values {
			if text, ok := value.(string); ok {
				restore(&rec, sources[i], text)
			}
		}
		return err
	})
	return rec, err
}

// Claim returns what instances have learnt of a subject from the given sources, and which of these the caller must
// ask now: no other instance gets them while the lease lasts, or until Keep or Fail. A source without an answer and a
// failure in the record that is not among them is being asked by another instance: claim it again in a while.
func (c *Client) Claim(
	ctx context.Context, key record.Key, sources []string, lease time.Duration,
) (rec record.Record, mine []string, err error) {
	subject, now := key.Subject(), time.Now()
	keys := make([]string, 1, 1+len(sources))
	keys[0] = c.recordKey(subject)
	args := []any{c.token, lease.Milliseconds(), readable(now)}
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
		readable := restore(&rec, source, text)
		switch follows := list[2*i+1].(type) {
		case int64:
			fail(&rec, record.IDOf(source), now.Add(time.Duration(follows)*time.Millisecond))
		case string:
			if follows == "ask" || follows == "known" && !readable {
				mine = append(mine, source)
			}
		}
	}
	return rec, mine, nil
}

// Store shares the report of a source on a subject, unless a newer one is there, and releases the claim.
func (c *Client) Store(
	ctx context.Context, key record.Key, source string, r reputation.Report, fetched, due time.Time,
) error {
	text, err := json.Marshal(storedOf(r, fetched, due))
	if err != nil {
		return fmt.Errorf("encoding the report of %s: %w", source, err)
	}
	subject := key.Subject()
	expiry := time.Until(due.Add(keepAfterDue)).Milliseconds()
	_, err = c.run(ctx, keeping, []string{c.recordKey(subject), c.askingKey(subject, source)},
		c.token, source, text, readable(fetched), max(expiry, 1))
	return err
}

// Fail releases a claim without an answer. No instance asks the source about the subject again before retry has passed;
// with 0, the next one that wants to know may.
func (c *Client) Fail(ctx context.Context, key record.Key, source string, retry time.Duration) error {
	_, err := c.run(ctx, failing, []string{c.askingKey(key.Subject(), source)}, c.token, retry.Milliseconds())
	return err
}

// Forget drops what instances have learnt of a subject from the given sources, and that some failed, and reports
// whether anything was learnt.
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

// stored is a report as it is written.
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
	if r.Facts.Network.IsValid() {
		s.Network = r.Facts.Network.String()
	}
	if !r.LastSeen.IsZero() {
		s.Seen = readable(r.LastSeen)
	}
	return s
}

// number returns the nearest number from -1 to 1, which JSON can hold.
func number(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return min(max(f, -1), 1)
}

// restore puts a report that was read into the record. It reports false for a damaged one, which does not count:
// somebody else can write there.
func restore(rec *record.Record, source, text string) bool {
	var s stored
	if json.Unmarshal([]byte(text), &s) != nil {
		return false
	}
	fetched, err := time.Parse(readableTime, s.Fetched)
	if err != nil || fetched.Unix() <= 0 {
		return false
	}
	due, err := time.Parse(readableTime, s.Due)
	if err != nil {
		return false
	}
	r := reputation.Report{Severity: s.Severity, Confidence: s.Confidence, Categories: s.Categories}
	r.LastSeen, _ = time.Parse(readableTime, s.Seen) // zero when it is missing
	r.Facts = reputation.Facts{Country: s.Country, ASN: s.ASN, Nature: s.Nature}
	rec.Learn(record.Pack(record.IDOf(source), r, fetched, due), r.Facts)
	return true
}

// fail marks in the record that a source should not be asked before a time. Its last report stays.
func fail(rec *record.Record, source record.SourceID, until time.Time) {
	a := record.Answer{Source: source}
	if last := rec.Find(source); last != nil {
		a = *last
	}
	a.Failed, a.Due = true, record.Seconds(until)
	rec.Set(a)
}

func readable(t time.Time) string { return t.UTC().Format(readableTime) }
