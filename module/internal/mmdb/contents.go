package mmdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Bounds of one file. The largest that are sold have half a gigabyte; there are 120,000 autonomous
// systems, and 250 countries.
const (
	// MaxSize is the largest size of a file, in bytes.
	MaxSize = 1 << 30

	maxEntries = 1 << 22
	maxWords   = 64 << 20

	// maxKnown bounds the memory of builder.known: records that were read before it was full are read
	// again.
	maxKnown = 1 << 22

	// loadWithin is how long a file may take to be read. A city database takes a second.
	loadWithin = time.Minute
)

// contents are the facts in a file. They are immutable, and have no pointers within.
type contents struct {
	index   *iplist.Table // address → entry
	entries []entry       // the first is empty
	words   string

	says     reputation.Capabilities
	kind     string
	built    time.Time
	networks int
}

// entry is the facts of some networks.
type entry struct {
	asn           uint32
	country, name span
	nature        reputation.Nature
}

const entrySize = int(unsafe.Sizeof(entry{}))

// span is a place in contents.words.
type span struct{ from, to uint32 }

func (c *contents) text(s span) string { return c.words[s.from:s.to] }

// read reads a file. It returns what the file was like, or nil if it may be another one the next
// time without looking so.
func read(ctx context.Context, path string, own []Path) (*contents, fs.FileInfo, error) {
	data, info, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	c, err := parse(ctx, data, own)
	return c, info, err
}

func readFile(path string) ([]byte, fs.FileInfo, error) {
	f, info, err := regularfile.Open(path, MaxSize)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	after, err := f.Stat()
	if err == nil && !same(info, after) {
		err = errors.New("it is being written")
	}
	return data, info, err
}

// builder makes contents of a file.
type builder struct {
	*contents
	ctx    context.Context
	file   *maxminddb.Reader
	record reader

	known   map[uint]uint32 // the entry of each record that was read, 0 for none
	most    int             // records in known
	entries map[entry]uint32
	spans   map[string]span
	words   strings.Builder
	without uint // a record without facts; see noFacts
}

// parse reads a file's bytes. It takes them for hostile.
func parse(ctx context.Context, data []byte, own []Path) (c *contents, err error) {
	defer func() {
		if r := recover(); r != nil {
			c, err = nil, fmt.Errorf("not a MaxMind DB file, or damaged: %v", r)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, loadWithin, fmt.Errorf("it takes longer than %s to read", loadWithin))
	defer cancel()
	file, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, damaged(err)
	}
	t, err := newTree(ctx, data, &file.Metadata)
	if err != nil {
		return nil, damaged(err)
	}
	b := newBuilder(file, own)
	b.ctx, t.leaf = ctx, b.add
	if err := t.walk(file.Metadata.IPVersion); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, damaged(err)
	}
	return b.finish()
}

func damaged(err error) error {
	return fmt.Errorf("not a MaxMind DB file, or damaged: %s", foreign.Line(err.Error(), 200))
}

func newBuilder(file *maxminddb.Reader, own []Path) *builder {
	m := &file.Metadata
	built := time.Time{}
	if 0 < m.BuildEpoch && m.BuildEpoch <= math.MaxUint32 {
		built = m.BuildTime()
	}
	return &builder{
		contents: &contents{
			index: iplist.NewTable(), entries: make([]entry, 1), kind: foreign.Line(m.DatabaseType, 80), built: built,
		},
		file:    file,
		record:  reader{schema: newSchema(m.DatabaseType, own)},
		known:   make(map[uint]uint32),
		most:    maxKnown,
		entries: map[entry]uint32{{}: 0},
		spans:   map[string]span{"": {}},
		without: math.MaxUint,
	}
}

// add adds a network.
func (b *builder) add(p netip.Prefix, record uint) error {
	b.networks++
	e, known := b.known[record]
	if !known {
		if err := b.ctx.Err(); err != nil {
			return err // one record can take a second
		}
		if err := b.file.LookupOffset(uintptr(record)).Decode(&b.record); err != nil {
			return err
		}
		var err error
		if e, err = b.intern(&b.record.found); err != nil {
			return err
		}
		if len(b.known) >= b.most {
			clear(b.known)
		}
		b.known[record] = e
	}
	if e == 0 {
		b.without = min(b.without, record)
		return nil
	}
	b.index.Add(p, e)
	return nil
}

// intern returns the entry with the given facts.
func (b *builder) intern(f *found) (uint32, error) {
	e := entry{asn: f.asn, nature: f.nature, country: b.span(f.country)}
	if f.asn != 0 {
		e.name = b.span(f.name)
	}
	n, known := b.entries[e]
	if known {
		return n, nil
	}
	if len(b.entries) >= maxEntries || b.words.Len() >= maxWords {
		return 0, errors.New("it has too many different facts")
	}
	n = uint32(len(b.contents.entries))
	b.contents.entries = append(b.contents.entries, e)
	b.entries[e] = n
	yes, no := f.nature.Bits()
	b.says = b.says.Union(reputation.Capabilities{
		Country: f.country != "", ASN: f.asn != 0, Natures: reputation.Kinds(yes | no),
	})
	return n, nil
}

func (b *builder) span(text string) span {
	s, known := b.spans[text]
	if !known {
		s.from = uint32(b.words.Len())
		b.words.WriteString(text)
		s.to = uint32(b.words.Len())
		b.spans[text] = s
	}
	return s
}

func (b *builder) finish() (*contents, error) {
	if len(b.contents.entries) == 1 {
		return nil, b.noFacts()
	}
	b.index.Finish()
	b.contents.words = b.words.String()
	b.contents.entries = slices.Clip(b.contents.entries)
	return b.contents, nil
}

// noFacts says of a file without facts what it has instead.
func (b *builder) noFacts() error {
	if b.without == math.MaxUint {
		return errors.New("it has no networks")
	}
	var record any
	if err := b.file.LookupOffset(uintptr(b.without)).Decode(&record); err != nil {
		return damaged(err)
	}
	return fmt.Errorf("nothing in it is known to be a country, an autonomous system or a nature; its type is %q, "+
		"and a record has %s: say where the facts are with `path`, or remove the file",
		b.kind, foreign.Line(strings.Join(fieldsOf(record), ", "), 300))
}

// fieldsOf returns the paths of the fields in a record, sorted.
func fieldsOf(record any) []string {
	fields, isMap := record.(map[string]any)
	if !isMap {
		return []string{"no fields"}
	}
	var paths []string
	for name, v := range fields {
		if inner, isMap := v.(map[string]any); isMap && len(inner) > 0 && name != "names" {
			for _, path := range fieldsOf(inner) {
				paths = append(paths, name+"."+path)
			}
			continue
		}
		paths = append(paths, name)
	}
	if len(paths) == 0 {
		return []string{"no fields"}
	}
	slices.Sort(paths)
	return paths
}
