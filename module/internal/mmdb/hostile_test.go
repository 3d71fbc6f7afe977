package mmdb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// small is a file with all that records have: pointers, nested maps, arrays.
func small(t testing.TB) []byte {
	return testenv.MMDB{Networks: []testenv.Network{
		{Prefix: "203.0.113.0/24", Record: m{"country": m{"iso_code": "DE", "names": m{"en": "Germany", "de": "Deutschland"}}, "asn": "AS64500"}},
		{Prefix: "198.51.100.0/24", Record: m{"country": m{"iso_code": "NL"}, "as_name": "Example Net", "asn": uint(64501), "list": []any{"a", m{"b": true}}}},
		{Prefix: "2001:db8::/32", Record: m{"traits": m{"is_anonymous_proxy": true, "user_type": "hosting"}, "score": 1.5, "n": -1}},
	}}.Bytes(t)
}

// check parses hostile bytes, and asks what came of it.
func check(t testing.TB, data []byte) {
	c, err := parse(context.Background(), data, nil)
	if (c == nil) == (err == nil) {
		t.Fatalf("got %v, %v", c, err)
	}
	if err != nil {
		if text := err.Error(); len(text) > 1000 || strings.ContainsAny(text, "\n\x1b") {
			t.Fatalf("%d bytes of error: %q", len(text), text)
		}
		return
	}
	set := Set{fixed(c)}
	for _, word := range []string{"203.0.113.7", "198.51.100.7", "2001:db8::1", "0.0.0.0", "255.255.255.255", "::"} {
		f := set.Facts(netip.MustParseAddr(word))
		if len(f.Country) != 0 && len(f.Country) != 2 || len(f.ASName) > maxName {
			t.Fatalf("%s: %+v", word, f)
		}
	}
}

func FuzzParse(f *testing.F) {
	data := small(f)
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add(testenv.MMDB{Version: 4, RecordSize: 24, Networks: []testenv.Network{{Prefix: "0.0.0.0/1", Record: m{"country_code": "DE"}}}}.Bytes(f))
	f.Add(testenv.MMDB{RecordSize: 32, Networks: []testenv.Network{{Prefix: "2400::/12", Record: m{"asn": 5}}}}.Bytes(f))
	f.Fuzz(func(t *testing.T, data []byte) { check(t, data) })
}

// Every byte is changed, and the file is cut in many places.
func TestDamagedFiles(t *testing.T) {
	data := small(t)
	for i := range data {
		if i%7 == 0 {
			check(t, data[:i])
		}
		for _, b := range []byte{0xff, data[i] ^ 1<<(i%8)} {
			changed := bytes.Clone(data)
			changed[i] = b
			check(t, changed)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		changed := bytes.Clone(data)
		for range 1 + rng.IntN(8) {
			changed[rng.IntN(len(changed))] = byte(rng.Uint32())
		}
		check(t, changed)
	}
}

// made is a file of a tree and records that no writer would write.
type made struct {
	nodes   [][2]uint32
	records []byte
}

func (f made) bytes() []byte {
	var b bytes.Buffer
	for _, n := range f.nodes {
		for _, child := range n {
			_ = binary.Write(&b, binary.BigEndian, child)
		}
	}
	b.Write(make([]byte, separator))
	b.Write(f.records)
	b.WriteString("\xab\xcd\xefMaxMind.com")
	number := func(name string, n uint32) {
		b.WriteByte(2<<5 | byte(len(name)))
		b.WriteString(name)
		b.WriteByte(6<<5 | 4)
		_ = binary.Write(&b, binary.BigEndian, n)
	}
	b.WriteByte(7<<5 | 4) // a map of four
	number("node_count", uint32(len(f.nodes)))
	number("record_size", 32)
	number("ip_version", 6)
	number("build_epoch", 1)
	return b.Bytes()
}

// record returns how a node points to a record.
func (f made) record(at int) uint32 { return uint32(len(f.nodes) + separator + at) }

// Trees with loops, and trees that are small and have more networks than there is time for.
func TestHostileTrees(t *testing.T) {
	const n = 120
	empty := uint32(n)
	loop := made{nodes: make([][2]uint32, n)}
	fan := made{nodes: make([][2]uint32, n)} // 2^120 networks
	for i := range n {
		loop.nodes[i] = [2]uint32{0, uint32((i + 1) % n)}
		fan.nodes[i] = [2]uint32{uint32(i + 1), uint32(i + 1)}
	}
	fan.nodes[n-1] = [2]uint32{empty, empty}
	deep := made{nodes: make([][2]uint32, 200)} // longer than an address
	for i := range 200 {
		deep.nodes[i] = [2]uint32{200, uint32(i + 1)}
	}
	for name, f := range map[string]made{"loop": loop, "fan": fan, "deep": deep} {
		if _, err := parse(t.Context(), f.bytes(), nil); err == nil || !strings.Contains(err.Error(), "search tree") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Records that point to themselves, nest without end, or say that they are huge.
func TestHostileRecords(t *testing.T) {
	key := func(name string) string { return string(rune(2<<5|byte(len(name)))) + name }
	for name, record := range map[string]string{
		"a pointer to itself":           "\x20\x00",
		"a map within itself":           "\xe1" + key("country") + "\x20\x00",
		"a map of sixteen million":      "\xff\xff\xff\xff",
		"an array of sixteen million":   "\x1f\x04\xff\xff\xff",
		"a text that is not there":      "\xe1" + key("asn") + "\x5f\xff\xff\xff",
		"maps in maps":                  strings.Repeat("\xe1"+key("traits"), 100_000),
		"arrays in arrays":              strings.Repeat("\x01\x04", 100_000),
		"a map with too many fields":    "\xfe\x20\x00" + strings.Repeat(key("a")+"\x00\x07", 0x2000+285),
		"a field that is cut off":       "\xe1" + key("asn") + "\xc4\x00",
		"a pointer out of the file":     "\xe1" + key("asn") + "\x38\xff\xff\xff\xff",
		"a pointer into the middle":     "\xe1" + key("asn") + "\x20\x02",
		"a pointer to a pointer":        "\xe1" + key("asn") + "\x20\x05\x20\x05",
		"a key that is no text":         "\xe1\xc1\x01\xc1\x01",
		"an extended type that is none": "\x00\xff",
	} {
		f := made{nodes: [][2]uint32{{0, 0}}, records: []byte(record)}
		f.nodes[0] = [2]uint32{f.record(0), f.record(0)}
		if c, err := parse(t.Context(), f.bytes(), nil); err == nil {
			t.Errorf("%s: %d networks and no error", name, c.networks)
		}
	}
}

// Whatever a file says, reading it takes memory in proportion to its size: here, each record has a
// long text that the next ones are a part of.
// Places of records are remembered in a bounded number; that changes nothing about what is read.
func TestKnownRecordsAreBounded(t *testing.T) {
	var networks []testenv.Network
	for i := range 500 {
		networks = append(networks, testenv.Network{
			Prefix: fmt.Sprintf("20.%d.%d.0/24", i%250, i/250), Record: m{"asn": uint(64500 + i%100), "n": uint(i)},
		})
	}
	data := testenv.MMDB{Networks: networks}.Bytes(t)
	all, err := parse(context.Background(), data, nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := maxminddb.OpenBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := newTree(context.Background(), data, &file.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	b := newBuilder(file, nil)
	b.ctx, b.most, tree.leaf = context.Background(), 10, func(p netip.Prefix, record uint) error {
		err := b.add(p, record)
		if len(b.known) > b.most {
			t.Fatalf("%d places are remembered", len(b.known))
		}
		return err
	}
	if err := tree.walk(file.Metadata.IPVersion); err != nil {
		t.Fatal(err)
	}
	few, err := b.finish()
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range networks {
		addr := netip.MustParsePrefix(network.Prefix).Addr()
		got, want := Set{fixed(few)}.Facts(addr), Set{fixed(all)}.Facts(addr)
		if want.ASN == 0 || got != want {
			t.Fatalf("%s: %+v, want %+v", addr, got, want)
		}
	}
}

func TestMemoryOfAFile(t *testing.T) {
	const n = 20_000
	f := made{nodes: make([][2]uint32, n)}
	places := make([]int, n)
	for i := range places {
		places[i] = len(f.records)
		f.records = fmt.Appendf(f.records, "\xe2\x43asn\x48AS%06d\x44name\x5e\x02\xe3", i+1)
	}
	f.records = append(f.records, bytes.Repeat([]byte("x"), maxTextRead)...)
	next, left := uint32(1), 0
	for i := range f.nodes {
		for j := range 2 {
			if next < n {
				f.nodes[i][j], next = next, next+1
			} else {
				f.nodes[i][j], left = f.record(places[left%n]), left+1
			}
		}
	}
	data := f.bytes()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := parse(t.Context(), data, nil)
	runtime.ReadMemStats(&after)
	if err != nil || len(c.entries) != n+1 {
		t.Fatalf("got %v, %d entries", err, len(c.entries))
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 128*uint64(len(data)) {
		t.Errorf("%d bytes for a file of %d", grown, len(data))
	}
	if size := fixed(c).Status().Size; size > 8*len(data) {
		t.Errorf("%d bytes stay of a file of %d", size, len(data))
	}
}

// Reading ends with its context, however large a file is.
func TestReadingEnds(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	why := errors.New("Caddy is stopping")
	cancel(why)
	networks := make([]testenv.Network, 0, 2000)
	for i := range 2000 {
		networks = append(networks, testenv.Network{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24).String(), Record: m{"asn": uint(i + 1)}})
	}
	if _, err := parse(ended, testenv.MMDB{Networks: networks}.Bytes(t), nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	late, cancelLate := context.WithDeadlineCause(t.Context(), time.Now().Add(-time.Second), why)
	defer cancelLate()
	if _, err := parse(late, testenv.MMDB{Networks: networks}.Bytes(t), nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}
