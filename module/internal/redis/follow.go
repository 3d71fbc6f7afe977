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
	//go:embed page.lua
	pageText string

	posting = goredis.NewScript(postText)
	purging = goredis.NewScript(purgeText)
	paging  = goredis.NewScript(pageText)
)

const (
	// reconcileEvery is how often the revision is read although no message came: messages can get lost.
	reconcileEvery = 5 * time.Second

	// pullEvery is after how many reconciliations the whole map is read, whatever its revision. A
	// replica server that takes over may have lost an entry and later reach the same revision.
	// Reading also deletes expired entries.
	pullEvery = 60

	// revisionName is the field of the revision. No entry has this name.
	revisionName = "#"

	// maxBatch is the maximum number of entries in one exchange.
	maxBatch = 200

	// maxText is the maximum size of an entry in Redis: its value, its version and its expiry.
	maxText = replica.MaxValue + 256
)

// follower synchronizes one instance with a map in Redis.
type follower struct {
	*Client
	name string
	peer replica.Peer

	seen     map[string]mark // the entries in Redis, by name
	revision int64           // the revision of the map up to which no entry was missed
	behind   bool            // Redis may lack entries of the peer

	badEntry, tooMany sync.Once // log that entries are ignored
}

// mark is the version and the hash of an entry that was seen in Redis.
type mark struct {
	version int64
	value   uint64 // its hash
}

var hashSeed = maphash.MakeSeed()

func markOf(e replica.Entry) mark { return mark{e.Version, maphash.Bytes(hashSeed, e.Value)} }

// mayReplace reports whether e may be newer than the entry that was seen. If the versions are
// equal, Redis compares the values.
func (seen mark) mayReplace(e replica.Entry) bool {
	return e.Version > seen.version || e.Version == seen.version && markOf(e) != seen
}

// unknownRevision is not the revision of any map.
const unknownRevision = -1

// Follow synchronizes an instance with the map of the given name until ctx ends: each takes over
// the newer entries of the other, at once if messages arrive, otherwise within seconds. While Redis
// is unavailable, it waits. Several calls may follow for the same peer at once.
func (c *Client) Follow(ctx context.Context, name string, peer replica.Peer) {
	f := &follower{Client: c, name: name, peer: peer, seen: map[string]mark{}}
	c.whileUp(ctx, f.follow)
}

// whileUp calls follow whenever Redis becomes available, until ctx ends. follow returns when it is
// away.
func (c *Client) whileUp(ctx context.Context, follow func(ctx context.Context, away <-chan struct{})) {
	for ctx.Err() == nil {
		changed := c.Changed()
		if c.Up() {
			follow(ctx, changed)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// follow follows the map until Redis becomes unavailable.
func (f *follower) follow(ctx context.Context, away <-chan struct{}) {
	f.revision, f.behind = unknownRevision, true
	changed := f.peer.Changed()
	messages := listen(ctx, f.Client, f.channel(f.name), readMessage)
	defer func() { messages.close() }()
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for ticks := 1; ; {
		f.reconcile(ctx)
		select {
		case m, ok := <-messages.heard:
			if !ok {
				// subscribe again at the next tick, not at once: the user may lack the permission
				messages.close()
				messages.heard = nil
				break
			}
			if m == (message{}) {
				f.checkRevision(ctx) // entries may have been posted before the subscription began
				break
			}
			f.receive(m, messages.heard)
		case <-changed:
			changed = f.peer.Changed() // before its entries are read, so that no change in between is missed
			f.behind = true
		case <-tick.C:
			if messages.heard == nil {
				messages = listen(ctx, f.Client, f.channel(f.name), readMessage)
			}
			f.checkRevision(ctx)
			if ticks++; ticks%pullEvery == 0 {
				f.revision = unknownRevision
			}
		case <-away:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (f *follower) mapKey() string { return f.key("{" + f.name + "}:notes") }

// channel returns a name that contains the number of the database: channels belong to the server,
// not to a database.
func (c *Client) channel(name string) string {
	if db := c.options.Database; db != 0 {
		return c.key(name) + ":" + strconv.Itoa(db)
	}
	return c.key(name)
}

// receive merges the entries of a message and of those queued behind it.
func (f *follower) receive(m message, more <-chan message) {
	var entries []replica.Entry
	now := f.redisNow()
	for {
		if m.Revision == f.revision+1 {
			f.revision = m.Revision
		} else if m.Revision > f.revision {
			f.revision = unknownRevision // one was missed
		}
		if e, err := read(m.Name, m.Text); err == nil && f.accept(e, now) {
			f.seen[e.Name] = markOf(e)
			entries = append(entries, e)
		}
		select {
		case next, ok := <-more:
			if ok && len(entries) < maxBatch {
				m = next
				continue
			}
			if ok {
				f.revision = unknownRevision
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

// ignore logs once that entries in Redis are ignored.
func (f *follower) ignore(once *sync.Once, err error) {
	once.Do(func() {
		f.log.Warn("entries in redis are ignored", slog.String("map", f.name), slog.Any("error", err))
	})
}

// checkRevision finds out whether a message was missed.
func (f *follower) checkRevision(ctx context.Context) {
	revision, err := f.readRevision(ctx)
	if err == nil && revision != f.revision {
		f.revision = unknownRevision
	}
}

// reconcile reads the map if an entry may have been missed, and posts entries that it lacks. After
// an error, the next call tries again.
func (f *follower) reconcile(ctx context.Context) {
	if f.revision == unknownRevision && f.pull(ctx) != nil {
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

// pull reads the whole map. It reads the revision first: if entries are posted meanwhile, the map
// is read again.
func (f *follower) pull(ctx context.Context) error {
	revision, err := f.readRevision(ctx)
	if err != nil {
		return err
	}
	p := pulled{seen: map[string]mark{}}
	for cursor := "0"; ; {
		var page []string
		var leftOut int64
		if cursor, page, leftOut, err = f.page(ctx, cursor); err != nil {
			return err
		}
		p.read += len(page)/2 + int(leftOut)
		f.sift(&p, page, f.redisNow())
		for chunk := range slices.Chunk(p.deletable, 2*maxBatch) {
			if _, err := f.run(ctx, purging, []string{f.mapKey()}, chunk...); err != nil {
				return err
			}
		}
		p.deletable = nil
		if cursor == "0" {
			break
		}
		if p.read >= f.maxEntries {
			f.ignore(&f.tooMany, fmt.Errorf("there are more than %d: see who writes to %s", f.maxEntries, f.mapKey()))
			break
		}
	}
	f.seen, f.revision, f.behind = p.seen, revision, true // entries that Redis has lost must be posted again
	f.peer.Merge(p.entries)
	return nil
}

// page reads names and texts of the map from a cursor on. The next cursor is 0 at the end. leftOut is
// the number of entries that are too long.
func (f *follower) page(
	ctx context.Context, cursor string,
) (next string, page []string, leftOut int64, err error) {
	answer, err := f.run(ctx, paging, []string{f.mapKey()}, cursor, maxBatch, replica.MaxName, maxText)
	if err != nil {
		return "", nil, 0, err
	}
	list, _ := answer.([]any)
	if len(list) != 3 {
		return "", nil, 0, fmt.Errorf("redis answered with a page of %d values", len(list))
	}
	next, _ = list[0].(string)
	if leftOut = integer(list[1]); leftOut > 0 {
		f.ignore(&f.badEntry, errTooLong)
	}
	fields, _ := list[2].([]any)
	for _, field := range fields {
		text, _ := field.(string)
		page = append(page, text)
	}
	return next, page, leftOut, nil
}

// pulled is the content of a map.
type pulled struct {
	seen      map[string]mark
	entries   []replica.Entry
	deletable []any // names and texts of expired or invalid entries, to be deleted
	read      int   // how many entries were seen, valid or not
}

// sift sorts a page of names and texts into valid entries and those to be deleted.
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
			p.deletable = append(p.deletable, name, text)
		case f.accept(e, now):
			p.seen[name] = markOf(e)
			p.entries = append(p.entries, e)
		}
	}
}

// post sends to Redis the entries of the peer that Redis may lack.
func (f *follower) post(ctx context.Context) error {
	var wanted []any
	now := f.redisNow()
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
	for chunk := range slices.Chunk(wanted, 2*maxBatch) {
		args := append([]any{f.channel(f.name), revisionName, maxText}, chunk...)
		if _, err := f.run(ctx, posting, []string{f.mapKey()}, args...); err != nil {
			return err
		}
	}
	maps.Copy(f.seen, offered)
	return nil
}

// posted is an entry in the format of Redis. post.lua relies on the order of its members.
type posted struct {
	Version int64           `json:"version"`
	Expires time.Time       `json:"expires,omitzero"`
	Value   json.RawMessage `json:"value"`
}

// write returns an entry in the format of Redis. Its value stays unchanged, since values are
// compared byte by byte.
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
