package redis

import (
	"bytes"
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

var (
	//go:embed post.lua
	postText string
	//go:embed purge.lua
	purgeText string

	posting = goredis.NewScript(postText)
	purging = goredis.NewScript(purgeText)
)

const (
	// reconcileEvery is how often the revision is read although no message came: messages can get lost.
	reconcileEvery = 5 * time.Second

	// pullEvery is after how many of these the map is read as a whole, whatever its revision: a replica server that takes
	// over may have lost an entry and come to the same number, and expired entries have to be deleted.
	pullEvery = 60

	// revisionName is the field of the revision. No entry has this name.
	revisionName = "#"

	// atOnce bounds the entries in one exchange.
	atOnce = 200

	// maxText bounds an entry as it stands in Redis: its value, its version and when it expires.
	maxText = replica.MaxValue + 256
)

// follower keeps one instance in agreement with a map in Redis.
type follower struct {
	*Client
	name string
	peer replica.Peer

	seen     map[string]mark // of the entries in Redis, by name
	revision int64           // of the map in Redis, up to which nothing was missed
	behind   bool            // Redis may lack what the peer knows

	badEntry, tooMany sync.Once // logged: entries are ignored
}

// mark identifies an entry that was seen in Redis.
type mark struct {
	version int64
	value   uint64 // its hash
}

var hashSeed = maphash.MakeSeed()

func markOf(e replica.Entry) mark { return mark{e.Version, maphash.Bytes(hashSeed, e.Value)} }

// mayReplace reports whether the entry may be newer than the one that was seen. Of equal versions Redis compares the
// values.
func (seen mark) mayReplace(e replica.Entry) bool {
	return e.Version > seen.version || e.Version == seen.version && markOf(e) != seen
}

// unknown is the revision of no map.
const unknown = -1

// Follow keeps an instance and the map of the given name in agreement until ctx ends: each takes over what the other
// one has newer, at once where messages arrive and otherwise within some seconds. While Redis is away it waits.
// Several may follow for the same peer at the same time.
func (c *Client) Follow(ctx context.Context, name string, peer replica.Peer) {
	f := &follower{Client: c, name: name, peer: peer, seen: map[string]mark{}}
	for ctx.Err() == nil {
		changed := c.Changed()
		if c.Up() {
			f.attend(ctx, changed)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// attend follows the map until Redis goes away.
func (f *follower) attend(ctx context.Context, away <-chan struct{}) {
	f.revision, f.behind = unknown, true
	changed := f.peer.Changed()
	messages := f.listen(ctx)
	defer func() { messages.close() }()
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for ticks := 1; ; {
		f.reconcile(ctx)
		select {
		case m, ok := <-messages.heard:
			if !ok {
				messages.close() // until the next tick, lest a user who may not subscribe tries for ever
				messages.heard = nil
				break
			}
			if m == (message{}) {
				f.look(ctx) // for what was posted before the subscription was made
				break
			}
			f.hear(m, messages.heard)
		case <-changed:
			changed = f.peer.Changed() // before its entries are read: a change in between is not missed
			f.behind = true
		case <-tick.C:
			if messages.heard == nil {
				messages = f.listen(ctx)
			}
			f.look(ctx)
			if ticks++; ticks%pullEvery == 0 {
				f.revision = unknown
			}
		case <-away:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (f *follower) mapKey() string { return f.key("{" + f.name + "}:notes") }

// channel has the number of the database in its name: channels belong to the server, not to a database.
func (f *follower) channel() string {
	if db := f.options.Database; db != 0 {
		return f.key(f.name) + ":" + strconv.Itoa(db)
	}
	return f.key(f.name)
}

// hear takes over the entries of a message and of those that wait behind it.
func (f *follower) hear(m message, more <-chan message) {
	var entries []replica.Entry
	now := time.Now()
	for {
		if m.Revision == f.revision+1 {
			f.revision = m.Revision
		} else if m.Revision > f.revision {
			f.revision = unknown // one was missed
		}
		if e, err := read(m.Name, m.Text); err == nil && f.accept(e, now) {
			f.seen[e.Name] = markOf(e)
			entries = append(entries, e)
		}
		select {
		case next, ok := <-more:
			if ok && len(entries) < atOnce {
				m = next
				continue
			}
			if ok {
				f.revision = unknown
			}
		default:
		}
		break
	}
	if f.peer.Merge(entries) {
		f.behind = true
	}
}

// accept reports whether an entry is within the bounds.
func (f *follower) accept(e replica.Entry, now time.Time) bool {
	if err := e.Check(now); err != nil {
		f.ignore(&f.badEntry, fmt.Errorf("the entry %.100q: %w", e.Name, err))
		return false
	}
	return true
}

// ignore logs once that entries in Redis are not taken over.
func (f *follower) ignore(once *sync.Once, err error) {
	once.Do(func() {
		f.log.Warn("entries in redis are ignored", slog.String("map", f.name), slog.Any("error", err))
	})
}

// look finds out whether a message was missed.
func (f *follower) look(ctx context.Context) {
	revision, err := f.readRevision(ctx)
	if err == nil && revision != f.revision {
		f.revision = unknown
	}
}

// reconcile reads the map if something of it was missed, and posts what it lacks. What fails is tried again at the next
// occasion.
func (f *follower) reconcile(ctx context.Context) {
	if f.revision == unknown && f.pull(ctx) != nil {
		return
	}
	if f.behind && f.post(ctx) == nil {
		f.behind = false
	}
}

func (f *follower) readRevision(ctx context.Context) (revision int64, err error) {
	err = f.do(ctx, func(ctx context.Context) (err error) {
		revision, err = f.rdb.HGet(ctx, f.mapKey(), revisionName).Int64()
		return err
	})
	return revision, err
}

// pull reads the whole map. The revision is read first: what is posted meanwhile makes it be read again.
func (f *follower) pull(ctx context.Context) error {
	revision, err := f.readRevision(ctx)
	if err != nil {
		return err
	}
	p := pulled{seen: map[string]mark{}}
	for cursor := uint64(0); ; {
		var page []string
		err := f.do(ctx, func(ctx context.Context) (err error) {
			page, cursor, err = f.rdb.HScan(ctx, f.mapKey(), cursor, "", atOnce).Result()
			return err
		})
		if err != nil {
			return err
		}
		f.sift(&p, page, time.Now())
		if cursor == 0 {
			break
		}
		if len(p.seen) >= f.maxEntries {
			f.ignore(&f.tooMany, fmt.Errorf("there are more than %d: see who writes to %s", f.maxEntries, f.mapKey()))
			break
		}
	}
	f.seen, f.revision, f.behind = p.seen, revision, true // what Redis has lost must be posted again
	f.peer.Merge(p.entries)
	for chunk := range slices.Chunk(p.over, 2*atOnce) {
		if _, err := f.run(ctx, purging, []string{f.mapKey()}, chunk...); err != nil {
			return err
		}
	}
	return nil
}

// pulled is what was read of a map.
type pulled struct {
	seen    map[string]mark
	entries []replica.Entry
	over    []any // names and texts of what can be deleted: it has expired, or is no entry
}

// sift sorts a page of names and texts.
func (f *follower) sift(p *pulled, page []string, now time.Time) {
	for i := 0; i+1 < len(page); i += 2 {
		name, text := page[i], page[i+1]
		if name == revisionName {
			continue
		}
		e, err := read(name, text)
		switch {
		case errors.Is(err, errTooLong):
			f.ignore(&f.badEntry, err)
		case err != nil || !e.Expires.IsZero() && e.Expires.Before(now):
			p.over = append(p.over, name, text)
		case f.accept(e, now):
			p.seen[name] = markOf(e)
			p.entries = append(p.entries, e)
		}
	}
}

// post offers to Redis what the peer knows and Redis, as far as was seen, does not.
func (f *follower) post(ctx context.Context) error {
	var wanted []any
	now := time.Now()
	offered := make(map[string]mark)
	for _, e := range f.peer.Entries() {
		seen, there := f.seen[e.Name]
		if there && !seen.mayReplace(e) || !e.Expires.IsZero() && e.Expires.Before(now) {
			continue
		}
		text, err := write(e)
		if err != nil {
			f.log.Error("an entry cannot be shared; this is a bug", slog.String("map", f.name), slog.Any("error", err))
			continue
		}
		wanted = append(wanted, e.Name, text)
		offered[e.Name] = markOf(e)
	}
	for chunk := range slices.Chunk(wanted, 2*atOnce) {
		args := append([]any{f.channel(), revisionName, maxText}, chunk...)
		if _, err := f.run(ctx, posting, []string{f.mapKey()}, args...); err != nil {
			return err
		}
	}
	maps.Copy(f.seen, offered)
	return nil
}

// posted is an entry as it stands in Redis. post.lua relies on the order of its members.
type posted struct {
	Version int64           `json:"version"`
	Expires time.Time       `json:"expires,omitzero"`
	Value   json.RawMessage `json:"value"`
}

// write returns the entry as it stands in Redis. Its value stays as it is, byte for byte, since it is compared.
func write(e replica.Entry) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(posted{e.Version, e.Expires.UTC(), e.Value}); err != nil {
		return "", fmt.Errorf("encoding the entry %s: %w", e.Name, err)
	}
	text := string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	if len(text) > maxText {
		return "", fmt.Errorf("encoding the entry %s: %w", e.Name, errTooLong)
	}
	return text, nil
}

var errTooLong = fmt.Errorf("an entry has more than %d bytes", maxText)

func read(name, text string) (replica.Entry, error) {
	if len(text) > maxText {
		return replica.Entry{}, fmt.Errorf("decoding the entry %.100q of %d bytes: %w", name, len(text), errTooLong)
	}
	var p posted
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return replica.Entry{}, fmt.Errorf("decoding the entry %.100q: %w", name, err)
	}
	return replica.Entry{Name: name, Version: p.Version, Expires: p.Expires, Value: p.Value}, nil
}
