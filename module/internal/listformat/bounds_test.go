package listformat

import (
	"encoding/csv"
	"errors"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// repeated is a text that is followed by many copies of another.
type repeated struct {
	start, again string
	left         int // bytes
}

func (r *repeated) Read(b []byte) (int, error) {
	n := copy(b[:min(len(b), r.left)], r.start)
	r.start = r.start[n:]
	for n < min(len(b), r.left) {
		n += copy(b[n:min(len(b), r.left)], r.again)
	}
	if r.left -= n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestMemory reads 2 MiB that a publisher sends in a few KB of gzip. However it is made up, it is read piece by piece.
func TestMemory(t *testing.T) {
	const size, most = 2 << 20, 1 << 19
	csv := Format{Encoding: CSV, Members: []string{"ip"}}
	object := Format{Encoding: JSON, Members: []string{"ip"}}
	ndjson := Format{Encoding: NDJSON, Members: []string{"ip"}}
	for _, test := range []struct {
		name         string
		format       Format
		start, again string
	}{
		{"found lines", Format{}, "", "{\"ip\":\"192.0.2.1\"}\n"},
		{"found lines of others", Format{}, "", "{\"x\":[[]]}\n"},
		{"found texts", Format{}, `{"x":[`, `"192.0.2.1",`},
		{"found objects", Format{}, `{"x":[`, `{"ip":"192.0.2.1","x":"y"},`},
		{"found empty arrays", Format{}, `{"x":[`, `[],`},
		{"found arrays", Format{}, `{"x":`, `[`},
		{"found keys", Format{}, `{`, `"1":{"ip":"192.0.2.1"},`},
		{"found names", Format{}, `{"`, "x"},
		{"found records", Format{}, "a,ip\n", "x,192.0.2.1\n"},
		{"found commas", Format{}, "a,ip\nx,192.0.2.1\n", ","},
		{"ranges", Format{}, "", "192.0.2.1 - 192.0.2.254\n"},
		{"pairs", Format{}, "", "192.0.2.1 192.0.2.254\n"},
		{"named ranges", Format{}, "", "x:192.0.2.1-192.0.2.254\n"},
		{"DShield", Format{}, "", "192.0.2.0\t192.0.2.255\t24\n"},
		{"ipset", Format{}, "create x hash:ip\n", "add x 192.0.2.1 timeout 1 comment \"y\"\n"},
		{"ipset of many sets", Format{Encoding: IPSet}, "add ", "x add x 192.0.2.1\nadd"},
		{"iptables", Format{}, "*filter\n", "-A INPUT -s 192.0.2.1/32,192.0.2.2/32 -j DROP\n"},
		{"iptables without an end", Format{}, "*filter\n-A INPUT -s ", "192.0.2.1/32,"},
		{"nginx", Format{}, "", "deny 192.0.2.1;\n"},
		{"geo", Format{}, "geo $x {\n", "192.0.2.1 1;\n"},
		{"Apache", Format{}, "", "Deny from 192.0.2.1 192.0.2.0/24\n"},
		{"Apache's short forms", Format{}, "Deny from 192.0.2\n", "Deny from 192.0.2\n"},
		{"hosts", Format{}, "127.0.0.1 localhost\n", "192.0.2.1 x\n"},
		{"comments", Format{}, "", "# Last updated: 2026-11-30\n"},
		{"one address", Format{}, "", "192.0.2.1\n"},
		{"one line", Format{}, "", "192.0.2.1"},
		{"fields", Format{}, "192.0.2.1", ","},
		{"wrong lines", Format{}, "", "x\n"},
		{"blank lines", Format{}, "", "\n"},
		{"arrays", object, `{"x":{"y":`, "["},
		{"arrays of a list", object, "", "["},
		{"objects", object, `{"x":`, `{"":`},
		{"objects of a list", object, "[", `{"":`},
		{"a name", object, `{"`, "x"},
		{"a text", object, `["`, "x"},
		{"an escaped text", object, `["`, `\"`},
		{"a number", object, "[", "1"},
		{"spaces", object, "[", " "},
		{"texts", Format{Encoding: JSON}, "[", `"192.0.2.1",`},
		{"empty entries", object, "[", "{},"},
		{"long paths", object, "[", `{"` + strings.Repeat("x", MaxLine/2) + `":`},
		{"members", object, "[{", `"ip":"192.0.2.1",`},
		{"other members", object, "[{", `"x":"y",`},
		{"skipped arrays", object, `{"x":[`, `[],`},
		{"lines", ndjson, "", "{\"ip\":\"192.0.2.1\"}\n"},
		{"other lines", ndjson, "", "{\"x\":[[]]}\n"},
		{"line of arrays", ndjson, "", `{"x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[` + "\n"},
		{"header of commas", csv, "", ","},
		{"short header of commas", csv, strings.Repeat(",", MaxLine-9) + "ip\n", "\n"},
		{"record of commas", csv, "ip\n", ","},
		{"records", csv, "a,ip\n", "x,192.0.2.1\n"},
		{"open quote", csv, "ip\n\"", "192.0.2.1\n"},
		{"quotes", csv, "ip\n", `"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			list := List{Add: func(netip.Prefix) error { return nil }}
			if err := test.format.Complete(); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&before)
			_ = list.Read(&repeated{test.start, test.again, size}, test.format, Options{})
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > most {
				t.Errorf("%d bytes were allocated, want at most %d", took, most)
			}
		})
	}
}

// TestAddEndsReading: what does not want more gets no more.
func TestAddEndsReading(t *testing.T) {
	for encoding, body := range map[Encoding]string{
		Text: "192.0.2.1\n192.0.2.2\n", CSV: "ip\n192.0.2.1\n192.0.2.2\n", JSON: `["192.0.2.1","192.0.2.2"]`,
		NDJSON: "{\"ip\":\"192.0.2.1\"}\n{\"ip\":\"192.0.2.2\"}\n",
	} {
		n := 0
		list := List{Add: func(netip.Prefix) error { n++; return io.ErrShortBuffer }}
		f := Format{Encoding: encoding}
		if encoding == CSV || encoding == NDJSON {
			f.Members = []string{"ip"}
		}
		if err := list.Read(strings.NewReader(body), f, Options{}); !errors.Is(err, io.ErrShortBuffer) || n != 1 {
			t.Errorf("%s: %d entries, %v", encoding, n, err)
		}
	}
}

// FuzzCSVFields compares with encoding/csv, for each record that it accepts and that is one line.
func FuzzCSVFields(f *testing.F) {
	for _, line := range []string{`a,b`, `"a","b ""c""",`, ` "x" , y`, `,,`, `"a`, `5" disk,"x"y`, "\ufeffa"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") || line == "" {
			return
		}
		rows := csv.NewReader(strings.NewReader(line))
		rows.TrimLeadingSpace = true
		want, err := rows.Read()
		if err != nil {
			return
		}
		got, ok := fieldsOf(line)
		for i := range want {
			want[i] = strings.TrimSpace(want[i])
		}
		if !ok || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", line, got, ok, want)
		}
	})
}

func fieldsOf(line string) (fields []string, ok bool) {
	for field, ended := range csvFields([]byte(line)) {
		if !ended {
			return nil, false
		}
		fields = append(fields, string(field))
	}
	return fields, true
}

// TestCSVRoundTrip: what encoding/csv writes as one line is read again.
func TestCSVRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.SliceOfN(rapid.StringMatching(`[a-c",;#-]{0,6}`), 2, 5).Draw(rt, "fields")
		var b strings.Builder
		w := csv.NewWriter(&b)
		_ = w.Write(want)
		w.Flush()
		if got, ok := fieldsOf(strings.TrimSuffix(b.String(), "\n")); !ok || !slices.Equal(got, want) {
			rt.Errorf("%q: got %q, %v", b.String(), got, ok)
		}
	})
}
