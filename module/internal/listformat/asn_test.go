package listformat

import (
	"bytes"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

func parseASNs(body string, f Format, own bool) (asns []uint32, list List, err error) {
	list.AddASN = func(n uint32) error {
		asns = append(asns, n)
		return nil
	}
	if err = f.Complete(); err == nil {
		err = list.Read(strings.NewReader(body), f, Options{Own: own})
	}
	return asns, list, err
}

func TestParseASNs(t *testing.T) {
	ndjson := Format{Encoding: NDJSON, Members: []string{"asn"}}
	for _, test := range []struct {
		name   string
		format Format
		body   string
		own    bool
		want   []uint32
		wrong  int
		says   string
	}{
		{name: "text", body: "# ours\nAS64500\nas64501 # EXAMPLE-AS A-9020 # Klagenfurt, AT\n64502\n", want: []uint32{64500, 64501, 64502}},
		{name: "the publisher's data", body: "64500, \"EXAMPLE Web Services Ltd, NL\"\n64501\t12\tx\n", want: []uint32{64500, 64501}},
		{name: "wrong", body: "AS\nAS0\n0\n064500\n4294967295\n4294967296\nASN64500\n1.10\n-1\n192.0.2.1\nAS 64500\n64500x\n", want: []uint32{math.MaxUint32}, wrong: 11, says: `line 1: "AS" is not the number`},
		{name: "several", body: "AS64500 AS64501\n64502,x,(AS64503)\n", wrong: 2, says: "names more than one autonomous system"},
		{name: "own", own: true, body: "64500 EXAMPLE\nAS64501\n64502 # x", want: []uint32{64501, 64502}, wrong: 1, says: "begin a comment with #"},
		{name: "NDJSON", format: ndjson, body: `{"asn":64500,"rir":"ripencc"}` + "\n" + `{"asn":"AS64501"}` + "\n" + `{"asn":1e3}` + "\n" + `{"asn":true}` + "\n" + `{}` + "\n" + `{"type":"metadata","timestamp":1767899078}`, want: []uint32{64500, 64501}, wrong: 3, says: `"1e3"`},
		{name: "JSON", format: Format{Encoding: JSON, Members: []string{"asn"}}, body: `[{"asn":64500},{"asn":[64501,"AS64502"]},{"asn":{}}]`, want: []uint32{64500, 64501, 64502}, wrong: 1},
		{name: "CSV", format: Format{Encoding: CSV, Members: []string{"ASN"}}, body: "ASN,Entity\n64500, \"EXAMPLE Web Services Ltd, NL\"\n64501,\"EXAMPLE Data Center \"\"Ex\"\", UA\"\n\"64502\",\"EXAMPLE LIMITED\"\n64503,\"EXAMPLE - example.net\" \n64504,UNKNOWN\nx,y", want: []uint32{64500, 64501, 64502, 64503, 64504}, wrong: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, list, err := parseASNs(test.body, test.format, test.own)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("numbers (-want +got):\n%s", diff)
			}
			if list.Wrong != test.wrong || list.Lines != len(test.want) || test.says != "" && !strings.Contains(list.FirstWrong.Error(), test.says) {
				t.Errorf("%d entries, %d wrong, want %d; first: %v, want %q", list.Lines, list.Wrong, test.wrong, list.FirstWrong, test.says)
			}
		})
	}
}

var asnPattern = regexp.MustCompile(`^(?i:as)?([1-9][0-9]{0,9})$`)

// checkASN compares with a twin made of a pattern and strconv.
func checkASN(t interface{ Errorf(string, ...any) }, s string) {
	want, wantOK := uint64(0), false
	if m := asnPattern.FindStringSubmatch(s); m != nil {
		var err error
		want, err = strconv.ParseUint(m[1], 10, 32)
		wantOK = err == nil
	}
	if got, ok := address.ParseASN([]byte(s)); ok != wantOK || ok && uint64(got) != want {
		t.Errorf("%q: got %d %v, want %d %v", s, got, ok, want, wantOK)
	}
}

func TestParseASNAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { checkASN(rt, rapid.StringMatching(`([aA][sS]?)?[0-9]{0,11}x?`).Draw(rt, "text")) })
}

func FuzzASNs(f *testing.F) {
	f.Add([]byte("AS64500\n64501 # x\nAS64500 AS64501\n"))
	f.Add([]byte("4294967296\nas1"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for field := range bytes.FieldsSeq(body) {
			checkASN(t, string(field))
		}
		n := 0
		list := List{AddASN: func(asn uint32) error {
			if n++; asn == 0 {
				t.Error("0 was accepted")
			}
			return nil
		}}
		f := Format{}
		if err := f.Complete(); err != nil {
			t.Fatal(err)
		}
		if err := list.Read(bytes.NewReader(body), f, Options{}); n != list.Lines || n+list.Wrong > len(body) {
			t.Errorf("%d entries, %+v, %v", n, list, err)
		}
	})
}
