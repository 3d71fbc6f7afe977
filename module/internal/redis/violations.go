package redis

import (
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// The violations of all subjects are one hash with one field per subject, whose values are readable.
// Two sorted sets beside it know which subjects have changed, and which end first. All are on one
// server of a Cluster: a batch is one exchange.
var (
	//go:embed violationstates.lua
	violationStatesText string
	//go:embed violations.lua
	violationsText string
	//go:embed violationpage.lua
	violationPageText string

	addingViolations = goredis.NewScript(fieldsText + violationStatesText + violationsText)
	pagingViolations = goredis.NewScript(fieldsText + violationStatesText + violationPageText)
)

const (
	// maxViolators is the maximum number of subjects in Redis.
	maxViolators = violation.DefaultSubjects

	// maxStates is the maximum size of the field of a subject, with MaxNames violations.
	maxStates = 2048

	// violationDelay is how long a violation waits for others, to be sent with them.
	violationDelay = 75 * time.Millisecond

	// batchesAtOnce is how many batches follow each other without a delay. A flood of violations
	// leaves Redis time for others.
	batchesAtOnce = 8

	// batchRemembered is for how long a batch is known not to be added again.
	batchRemembered = time.Hour

	// overlap is how many changes are read again when Redis is back: a replica server that took over may have lost as
	// many, and counts others by their revisions since.
	overlap = 4096

	// violatorsPage is how many subjects are read in one exchange.
	violatorsPage = 200

	// maxViolationMessage is the maximum size of a message: MaxBatch states, or a page of them.
	maxViolationMessage = violatorsPage * maxStates
)

func (c *Client) violatorsKey() string { return c.key("{violations}:subjects") }
func (c *Client) changesKey() string   { return c.key("{violations}:changes") }
func (c *Client) endsKey() string      { return c.key("{violations}:ends") }

// violationFollower shares the violations of one instance.
type violationFollower struct {
	*Client
	store    *violation.Store
	settle   func(context.Context)
	revision int64 // up to which all changes were read
	missed   bool  // there may be later ones, whose messages did not arrive

	badState sync.Once // logs that states are ignored
}

// violationMessage is what violations amount to after a change. Nil means that the subscription has
// begun.
type violationMessage struct {
	revision int64
	states   []violation.State
	bad      int // states that no instance can have sent
}

// FollowViolations shares violations with the other instances until ctx ends: what is counted here
// is added in Redis soon after, and what the others count is taken over, at once if messages arrive,
// otherwise within seconds. While Redis is unavailable, it waits. The store keeps what is to be sent:
// see its method Share. When Redis is back, settle is called before anything is read: it deletes what
// was forgotten meanwhile.
func (c *Client) FollowViolations(ctx context.Context, store *violation.Store, settle func(context.Context)) {
	f := &violationFollower{Client: c, store: store, settle: settle}
	c.whileUp(ctx, f.follow)
}

// follow shares until Redis becomes unavailable.
func (f *violationFollower) follow(ctx context.Context, away <-chan struct{}) {
	subscribe := func() *subscription[*violationMessage] {
		return listen(ctx, f.Client, f.channel("violations"), readViolationMessage)
	}
	messages := subscribe()
	defer func() { messages.close() }()
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	f.settle(ctx)
	f.missed, f.revision = true, max(f.revision-overlap, 0)
	due := time.After(0) // what waits since Redis was away
	for {
		if f.missed {
			f.catchUp(ctx)
		}
		select {
		case m, ok := <-messages.heard:
			switch {
			case !ok: // subscribe again at the next tick, as for other maps
				messages.close()
				messages.heard = nil
			case m == nil:
				f.checkRevision(ctx) // something may have changed before the subscription began
			default:
				f.receive(m)
			}
		case <-f.store.Waiting():
			if due == nil {
				due = time.After(violationDelay)
			}
		case <-due:
			if due = nil; f.send(ctx) {
				due = time.After(violationDelay)
			}
		case <-tick.C:
			if messages.heard == nil {
				messages = subscribe()
			}
			f.checkRevision(ctx)
			due = time.After(0) // a batch that was not known to arrive is sent again
		case <-away:
			return
		case <-ctx.Done():
			f.sendLast(ctx)
			return
		}
	}
}

// sendLast sends what still waits when sharing ends.
func (f *violationFollower) sendLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.timeout)
	defer cancel()
	f.send(ctx)
}

// receive takes over a message.
func (f *violationFollower) receive(m *violationMessage) {
	switch {
	case m.revision == f.revision+1:
		f.revision = m.revision
	case m.revision > f.revision:
		f.missed = true
	}
	f.merge(m)
}

func (f *violationFollower) merge(m *violationMessage) {
	if n := f.store.Merge(m.states) + m.bad; n > 0 {
		f.badState.Do(func() {
			f.log.Warn("violations in redis are ignored", slog.Int("count", n),
				slog.String("cure", "see who else writes to "+f.violatorsKey()))
		})
	}
}

// checkRevision finds out whether a message was missed.
func (f *violationFollower) checkRevision(ctx context.Context) {
	var revision int64
	err := f.do(ctx, func(ctx context.Context) (err error) {
		revision, err = f.rdb.HGet(ctx, f.violatorsKey(), revisionName).Int64()
		return err
	})
	f.missed = f.missed || err == nil && revision != f.revision
}

// catchUp reads the subjects that have changed. What it could not read, the next call does.
func (f *violationFollower) catchUp(ctx context.Context) {
	for range 2 * maxViolators / violatorsPage {
		answer, err := f.run(ctx, pagingViolations, []string{f.violatorsKey(), f.changesKey()},
			f.revision, violatorsPage, maxStates)
		list, _ := answer.([]any)
		if err != nil || len(list) != 2 {
			return
		}
		text, _ := list[0].(string)
		m, ok := readViolationMessage(text)
		if !ok {
			return
		}
		f.merge(m)
		f.revision = m.revision
		if integer(list[1]) == 0 {
			f.missed = false
			return
		}
	}
}

// send sends what waits, and returns whether more does.
func (f *violationFollower) send(ctx context.Context) (more bool) {
	for range batchesAtOnce {
		var err error
		if more, err = f.store.Send(ctx, f.add); err != nil {
			return false // it is sent again at the next tick
		}
		if !more {
			return false
		}
	}
	return more
}

// add adds a batch in Redis, and returns what it amounts to there.
func (f *violationFollower) add(ctx context.Context, b violation.Batch) ([]violation.State, error) {
	args := []any{
		f.channel("violations"), b.Number, batchRemembered.Milliseconds(), maxViolators, violation.MaxNames, maxStates,
	}
	for _, d := range b.Deltas {
		args = append(args, d.Subject.String(), d.Terms.Name, d.Terms.HalfLife.Milliseconds(), d.Terms.Free,
			decimal(d.Terms.Most), decimal(d.Base.Points), decimal(d.Base.Count), d.Base.Age.Milliseconds(),
			d.Acts, decimal(d.Added.Points), decimal(d.Added.Count), d.Added.Age.Milliseconds())
	}
	keys := []string{f.violatorsKey(), f.changesKey(), f.endsKey(), f.key("{violations}:batch:" + b.From)}
	answer, err := f.run(ctx, addingViolations, keys, args...)
	if err != nil {
		return nil, err
	}
	text, _ := answer.(string)
	m, ok := readViolationMessage(text)
	if !ok {
		return nil, errors.New("redis answered a batch of violations with something else")
	}
	return m.states, nil
}

// decimal returns a number in thousandths.
func decimal(v float64) string { return strconv.FormatFloat(1000*v, 'f', 0, 64) }

// ForgetViolations deletes the violations of a subject, and reports whether there were any.
func (c *Client) ForgetViolations(ctx context.Context, subject netip.Prefix) (found bool, err error) {
	err = c.do(ctx, func(ctx context.Context) error {
		var n *goredis.IntCmd
		_, err := c.rdb.Pipelined(ctx, func(p goredis.Pipeliner) error {
			n = p.HDel(ctx, c.violatorsKey(), subject.String())
			p.ZRem(ctx, c.changesKey(), subject.String())
			p.ZRem(ctx, c.endsKey(), subject.String())
			return nil
		})
		found = n.Val() > 0
		return err
	})
	return found, err
}

// readViolationMessage reads a message, which anybody may have sent. It leaves out states that are none: one of them, in
// Redis, must not hide all others.
func readViolationMessage(text string) (*violationMessage, bool) {
	var raw struct {
		Revision int64             `json:"revision,string"`
		States   []json.RawMessage `json:"states"`
	}
	if len(text) > maxViolationMessage || json.Unmarshal([]byte(text), &raw) != nil || raw.Revision < 0 {
		return nil, false
	}
	m := &violationMessage{revision: raw.Revision, states: make([]violation.State, 0, len(raw.States))}
	for _, text := range raw.States {
		if s, err := readState(text); err == nil {
			m.states = append(m.states, s)
		} else {
			m.bad++
		}
	}
	return m, true
}

var errNoState = errors.New("not a subject, a name and four numbers")

// readState reads a subject, a name, points, count, age and half-life.
func readState(text []byte) (s violation.State, err error) {
	var values []any
	if err := json.Unmarshal(text, &values); err != nil {
		return s, err
	}
	if len(values) != 6 {
		return s, errNoState
	}
	subject, _ := values[0].(string)
	if s.Subject, err = netip.ParsePrefix(subject); err != nil {
		return s, fmt.Errorf("the subject of a violation: %w", err)
	}
	s.Name, _ = values[1].(string)
	var numbers [4]float64
	for i := range numbers {
		n, ok := values[2+i].(float64)
		if !ok || n < 0 || n > 1e15 {
			return s, errNoState
		}
		numbers[i] = n
	}
	milliseconds := func(n float64) time.Duration {
		return time.Duration(min(n, float64(math.MaxInt64/time.Millisecond)-1)) * time.Millisecond
	}
	s.Amount = violation.Amount{Points: numbers[0] / 1000, Count: numbers[1] / 1000, Age: milliseconds(numbers[2])}
	s.HalfLife = milliseconds(numbers[3])
	return s, nil
}
