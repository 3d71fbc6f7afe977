package redis

import (
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
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
	// reconcileEvery is how often the board is looked at although no message came: messages can get lost.
	reconcileEvery = 5 * time.Second

	// pullEvery is after how many of these it is read as a whole, whatever its revision says: a replica that takes over may
	// have lost a note and come to the same number, and notes that are over have to be taken off.
	pullEvery = 60

	// revisionName is the field of the revision. No note is named so.
	revisionName = "#"

	// atOnce bounds the notes in one exchange.
	atOnce = 200
)

// Note is something on which all instances agree, by its name. Of two notes of one name the one with the higher version
// holds, and of two with the same version the one whose Value is larger.
type Note struct {
	Name string

	// Version is the time of the note in Unix milliseconds, or more. A note from the future, by more than a day, is not taken.
	Version int64

	// Expires is when the note can be forgotten. The zero time is never.
	Expires time.Time

	// Value is what the note says, in JSON.
	Value []byte
}

// Peer is an instance's own side of a board.
type Peer interface {
	// Notes returns all that the instance knows.
	Notes() []Note

	// Merge takes over those that are newer than what the instance knows, and reports whether it knows better of some of
	// the others. It is given notes in any order, old ones too, and by one goroutine at a time.
	Merge([]Note) (better bool)

	// Changed tells that the instance has notes that it did not get from Merge.
	Changed() <-chan struct{}
}

// board is a set of notes that instances share, as one of them follows it.
type board struct {
	*Client
	name string
	peer Peer

	seen     map[string]int64 // the versions on the board, by name
	revision int64            // of the board, up to which nothing was missed
	behind   bool             // the board may lack what the peer knows
}

// unknown is no revision of any board.
const unknown = -1

// Follow keeps an instance and the board of the given name in agreement until ctx ends: what either knows better the other
// takes over, at once where messages arrive and otherwise within some seconds. While Redis is away it waits.
func (c *Client) Follow(ctx context.Context, name string, peer Peer) {
	b := &board{Client: c, name: name, peer: peer, seen: map[string]int64{}}
	for ctx.Err() == nil {
		changed := c.Changed()
		if c.Up() {
			b.attend(ctx, changed)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// attend follows the board until Redis goes away.
func (b *board) attend(ctx context.Context, away <-chan struct{}) {
	b.revision, b.behind = unknown, true
	messages := b.listen(ctx)
	defer func() { messages.close() }()
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for ticks := 1; ; {
		b.reconcile(ctx)
		select {
		case m, ok := <-messages.heard:
			if !ok {
				messages.close() // until the next tick, lest a user who may not listen tries for ever
				messages.heard = nil
				break
			}
			if m == (message{}) {
				b.look(ctx) // what was posted before the subscription was made
				break
			}
			b.hear(m, messages.heard)
		case <-b.peer.Changed():
			b.behind = true
		case <-tick.C:
			if messages.heard == nil {
				messages = b.listen(ctx)
			}
			b.look(ctx)
			if ticks++; ticks%pullEvery == 0 {
				b.revision = unknown
			}
		case <-away:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (b *board) notesKey() string { return b.key("{" + b.name + "}:notes") }

// channel is told apart by database: channels are the server's, and reach into all of them.
func (b *board) channel() string {
	if db := b.options.Database; db != 0 {
		return b.key(b.name) + ":" + strconv.Itoa(db)
	}
	return b.key(b.name)
}

// hear takes over the notes of a message and of those that wait behind it.
func (b *board) hear(m message, more <-chan message) {
	var notes []Note
	for {
		if m.Revision == b.revision+1 {
			b.revision = m.Revision
		} else if m.Revision > b.revision {
			b.revision = unknown // one was missed
		}
		if n, err := read(m.Name, m.Text); err == nil {
			b.seen[n.Name] = n.Version
			notes = append(notes, n)
		}
		select {
		case next, ok := <-more:
			if ok && len(notes) < atOnce {
				m = next
				continue
			}
			if ok {
				b.revision = unknown
			}
		default:
		}
		break
	}
	if b.peer.Merge(notes) {
		b.behind = true
	}
}

// look finds out whether a message was missed.
func (b *board) look(ctx context.Context) {
	revision, err := b.readRevision(ctx)
	if err == nil && revision != b.revision {
		b.revision = unknown
	}
}

// reconcile reads the board if something of it was missed, and posts what it lacks. What fails is tried again at the next
// occasion.
func (b *board) reconcile(ctx context.Context) {
	if b.revision == unknown && b.pull(ctx) != nil {
		return
	}
	if b.behind && b.post(ctx) == nil {
		b.behind = false
	}
}

func (b *board) readRevision(ctx context.Context) (revision int64, err error) {
	err = b.do(ctx, func(ctx context.Context) (err error) {
		revision, err = b.rdb.HGet(ctx, b.notesKey(), revisionName).Int64()
		return err
	})
	return revision, err
}

// pull reads the whole board. The revision is read first: what is posted meanwhile makes it be read again.
func (b *board) pull(ctx context.Context) error {
	revision, err := b.readRevision(ctx)
	if err != nil {
		return err
	}
	seen := make(map[string]int64)
	var notes []Note
	var over []any
	now := time.Now()
	for cursor := uint64(0); ; {
		var page []string
		err := b.do(ctx, func(ctx context.Context) (err error) {
			page, cursor, err = b.rdb.HScan(ctx, b.notesKey(), cursor, "", atOnce).Result()
			return err
		})
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(page); i += 2 {
			if page[i] == revisionName {
				continue
			}
			n, err := read(page[i], page[i+1])
			if err != nil || !n.Expires.IsZero() && n.Expires.Before(now) {
				over = append(over, page[i], page[i+1])
				continue
			}
			seen[n.Name] = n.Version
			notes = append(notes, n)
		}
		if cursor == 0 {
			break
		}
	}
	b.seen, b.revision, b.behind = seen, revision, true // what was lost has to be posted again
	b.peer.Merge(notes)
	for chunk := range slices.Chunk(over, 2*atOnce) {
		if _, err := b.run(ctx, purging, []string{b.notesKey()}, chunk...); err != nil {
			return err
		}
	}
	return nil
}

// post offers to the board what the peer knows and the board, as far as was seen, does not.
func (b *board) post(ctx context.Context) error {
	var wanted []any
	now := time.Now()
	offered := make(map[string]int64)
	for _, n := range b.peer.Notes() {
		version, there := b.seen[n.Name]
		if there && version >= n.Version || !n.Expires.IsZero() && n.Expires.Before(now) {
			continue
		}
		text, err := write(n)
		if err != nil {
			b.log.Error("a note cannot be shared; this is a bug", slog.String("board", b.name), slog.Any("error", err))
			continue
		}
		wanted = append(wanted, n.Name, text)
		offered[n.Name] = n.Version
	}
	for chunk := range slices.Chunk(wanted, 2*atOnce) {
		args := append([]any{b.channel(), revisionName}, chunk...)
		if _, err := b.run(ctx, posting, []string{b.notesKey()}, args...); err != nil {
			return err
		}
	}
	maps.Copy(b.seen, offered)
	return nil
}

// posted is a note as it stands on the board.
type posted struct {
	Version int64           `json:"version"`
	Expires time.Time       `json:"expires,omitzero"`
	Value   json.RawMessage `json:"value"`
}

func write(n Note) (string, error) {
	text, err := json.Marshal(posted{n.Version, n.Expires.UTC(), n.Value})
	if err != nil {
		return "", fmt.Errorf("encoding the note %s: %w", n.Name, err)
	}
	return string(text), nil
}

func read(name, text string) (Note, error) {
	var p posted
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return Note{}, fmt.Errorf("decoding the note %s: %w", name, err)
	}
	return Note{Name: name, Version: p.Version, Expires: p.Expires, Value: p.Value}, nil
}
