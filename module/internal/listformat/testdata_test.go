package listformat

import (
	"bytes"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sampleFile is a list as it is found in the world, and what it must give.
type sampleFile struct {
	file      string
	options   string // "own", "asn"
	encoding  Encoding
	members   []string
	found     Encoding // default: encoding
	want      string
	wrong     int
	first     string // of what is wrong
	skipped   int
	published string
	refused   string
}

var sampleFiles = []sampleFile{
	{file: "text.txt", found: Text, want: "203.0.113.7/32 203.0.113.0/25 198.51.100.64/28 2001:db8::7/128 198.51.100.9/32 198.51.100.10/32", published: "2026-11-22T01:00:29Z"},
	{file: "text_mixed.txt", found: Text, want: "203.0.113.7/32 203.0.113.8/32 203.0.113.13/32 203.0.113.14/32", wrong: 3, first: `line 3: "deny" is not an address`},
	{file: "text_mixed.txt", encoding: Text, want: "203.0.113.7/32 203.0.113.8/32", wrong: 4},
	{file: "firehol.netset", found: Text, want: "198.51.100.7/32 203.0.113.0/24", published: "2026-11-23T04:00:21Z"},
	{file: "bom_crlf.txt", found: Text, want: "203.0.113.7/32 2001:db8::/48"},
	{file: "own.txt", options: "own", found: Text, want: "198.51.100.7/32 203.0.113.0/24", wrong: 7, first: `line 4: "203.0.113.7/24" is neither`},
	{file: "own.txt", options: "own", encoding: Ranges, want: "198.51.100.7/32 203.0.113.0/24 203.0.113.0/24", wrong: 6},

	{file: "ranges_dash.txt", found: Text, want: "203.0.113.0/24 203.0.113.4/31 203.0.113.6/32 198.51.100.7/32 198.51.100.8/31 192.0.2.0/31 2001:db8::/120 198.51.100.16/28 198.51.100.99/32", published: "2026-11-20T00:00:00Z"},
	{file: "ranges_dash.txt", encoding: Ranges, want: "203.0.113.0/24 203.0.113.4/31 203.0.113.6/32 198.51.100.7/32 198.51.100.8/31 192.0.2.0/31 2001:db8::/120 198.51.100.16/28 198.51.100.99/32", published: "2026-11-20T00:00:00Z"},
	{file: "ranges_wrong.txt", found: Text, want: "203.0.113.1/32 203.0.113.2/32 203.0.113.1/32", wrong: 9, first: "line 2: \"203.0.113.9 - 203.0.113.1\" is a range that ends before it begins"},
	{file: "ranges_pairs.txt", found: Ranges, want: "203.0.113.0/25 198.51.100.0/30 203.0.113.128/26", wrong: 2, first: "line 4: "},
	{file: "ranges_pairs.txt", options: "own", encoding: Ranges, want: "203.0.113.0/25 203.0.113.128/26", wrong: 3, first: "line 2: "},
	{file: "ranges_pairs.txt", options: "own", found: Text, wrong: 5, first: "names more than one address"},
	{file: "ranges_p2p.txt", found: Ranges, want: "203.0.113.0/29 198.51.100.1/32", wrong: 2},
	{file: "dshield.txt", found: DShield, want: "203.0.113.0/24 198.51.100.0/24", wrong: 3, published: "2026-11-23T15:33:38Z"},

	{file: "csv_header.csv", found: CSV, want: "203.0.113.32/32 203.0.113.35/32", wrong: 2, published: "2026-11-23T05:00:00Z"},
	{file: "csv_header.csv", members: []string{"dst_ip"}, found: CSV, want: "203.0.113.32/32 203.0.113.35/32", wrong: 2, published: "2026-11-23T05:00:00Z"},
	{file: "csv_header.csv", members: []string{"2"}, found: CSV, want: "203.0.113.32/32 203.0.113.35/32", wrong: 2, published: "2026-11-23T05:00:00Z"},
	{file: "csv_plain.csv", found: CSV, refused: "no CSV column holds addresses in all lines"},
	{file: "csv_plain.csv", members: []string{"2"}, found: CSV, want: "203.0.113.32/32 198.51.100.0/28", wrong: 1, first: `line 3: "x"`},
	{file: "csv_plain.csv", options: "own", found: Text, wrong: 3},
	{file: "csv_two.csv", found: CSV, refused: "name one with `field`, by its name in the header line or by its number: 1, 2"},
	{file: "csv_two.csv", members: []string{"Source"}, found: CSV, want: "203.0.113.32/32 203.0.113.33/32"},
	{file: "csv_ranges.csv", found: CSV, refused: "several CSV columns"},
	{file: "csv_ranges.csv", encoding: Ranges, want: "203.0.113.0/24 198.51.100.0/25"},

	{file: "google.json", found: JSON, want: "2001:db8:4801:10::/64 203.0.113.64/27 203.0.113.9/32", published: "2026-11-20T15:46:04Z"},
	{file: "google.json", members: []string{"prefixes[].ipv4Prefix", "prefixes[].ipv6Prefix"}, found: JSON, want: "2001:db8:4801:10::/64 203.0.113.64/27 203.0.113.9/32", published: "2026-11-20T15:46:04Z"},
	{file: "google.json", members: []string{"prefixes[].ipv4Prefix"}, found: JSON, want: "203.0.113.64/27 203.0.113.9/32", wrong: 1, first: "entry 1: has no member", published: "2026-11-20T15:46:04Z"},
	{file: "aws.json", found: JSON, want: "203.0.113.0/25 203.0.113.0/25 2001:db8:aa::/48", published: "2026-11-23T05:00:00Z"},
	{file: "azure.json", found: JSON, want: "198.51.100.128/25 2001:db8:cc::/48", wrong: 1},
	{file: "azure.json", members: []string{"values[].properties.addressPrefixes[]"}, found: JSON, want: "198.51.100.128/25 2001:db8:cc::/48", wrong: 1},
	{file: "cloudflare.json", found: JSON, want: "192.0.2.0/24 2001:db8:cb::/48"},
	{file: "cloudflare.json", members: []string{"result.ipv4_cidrs[]"}, found: JSON, want: "192.0.2.0/24"},
	{file: "github.json", found: JSON, refused: "name one with `field`: \"hooks[]\", \"web[]\", \"actions[]\""},
	{file: "github.json", encoding: JSON, refused: "\"hooks[]\", \"web[]\", \"actions[]\""},
	{file: "github.json", members: []string{"hooks[]", "web"}, found: JSON, want: "192.0.2.0/24 2001:db8:a440::/48 203.0.113.0/25"},
	{file: "github.json", members: []string{"hook[]"}, found: JSON, refused: "has no member hook[]"},
	{file: "statuscake.json", found: JSON, want: "192.0.2.10/32 192.0.2.11/32 2001:db8::11/128"},
	{file: "statuscake.json", members: []string{"*.ip", "*.ipv6"}, found: JSON, want: "192.0.2.10/32 192.0.2.11/32 2001:db8::11/128"},
	{file: "statuscake.json", members: []string{"*.ipv6"}, found: JSON, want: "2001:db8::11/128", wrong: 1},
	{file: "clusters.json", found: JSON, refused: "\"eu[]\", \"us[]\""},
	{file: "clusters.json", members: []string{"*[]"}, found: JSON, want: "192.0.2.20/32 2001:db8::20/128 192.0.2.21/32"},
	{file: "zscaler.json", found: JSON, refused: "name one with `field`"},
	{file: "zscaler.json", members: []string{"*.*.*[].range"}, found: JSON, want: "203.0.113.0/24 198.51.100.0/24", wrong: 1},
	{file: "zscaler.json", members: []string{"zscaler.net.*.*[].range"}, found: JSON, want: "203.0.113.0/24 198.51.100.0/24", wrong: 1},
	{file: "oracle.json", found: JSON, want: "203.0.113.0/25", wrong: 2, published: "2026-01-13T04:10:42.394933Z"},
	{file: "array.json", found: JSON, want: "192.0.2.1/32 192.0.2.2/32", wrong: 3, first: `entry 4: "x"`},
	{file: "array.json", members: []string{"[]"}, found: JSON, want: "192.0.2.1/32 192.0.2.2/32", wrong: 3, first: `entry 4: "x"`},
	{file: "blacklist.json", found: JSON, want: "203.0.113.5/32 2001:db8::5/128", published: "2026-11-24T19:54:11Z"},
	{file: "spamhaus.json", found: NDJSON, want: "203.0.113.0/24 198.51.100.0/25", wrong: 2, first: "line 3: ", published: "2026-11-23T04:39:22Z"},
	{file: "spamhaus.json", members: []string{"cidr"}, found: NDJSON, want: "203.0.113.0/24 198.51.100.0/25", wrong: 2, first: "line 3: ", published: "2026-11-23T04:39:22Z"},
	{file: "asndrop.json", found: NDJSON, wrong: 3, published: "2026-11-23T04:39:22Z"},
	{file: "asndrop.json", options: "asn", found: NDJSON, want: "64500 64501", wrong: 1, published: "2026-11-23T04:39:22Z"},
	{file: "asns.txt", options: "asn", found: Text, want: "64500 64501 64502", wrong: 1},
	{file: "asns.csv", options: "asn", found: CSV, want: "64500 64501 64502 64503 64504", wrong: 1},

	{file: "ipset.txt", found: IPSet, want: "203.0.113.7/32 198.51.100.0/28 203.0.113.16/30 2001:db8:bad::/48", wrong: 5},
	{file: "ipset_broken.txt", encoding: IPSet, refused: `"\xeb", "\xeb6", "\xebx"`},
	{file: "ipset_several.txt", found: IPSet, refused: "name one with `field`: \"good\", \"bad\""},
	{file: "ipset_several.txt", members: []string{"bad"}, found: IPSet, want: "203.0.113.7/32", skipped: 1},
	{file: "nginx_deny.conf", found: Nginx, want: "203.0.113.7/32 198.51.100.0/24 2001:db8::/48", wrong: 5, first: "line 5: ", skipped: 1},
	{file: "nginx_allow.conf", found: Nginx, want: "203.0.113.7/32", skipped: 2},
	{file: "nginx_geo.conf", found: Nginx, want: "203.0.113.0/24 198.51.100.4/30", wrong: 2, first: "another value", skipped: 1},
	{file: "apache_deny.conf", found: Apache, want: "203.0.113.7/32 198.51.100.0/24 192.0.2.0/24 10.1.0.0/16 172.16.0.0/12 2001:db8::/48", wrong: 4, first: "line 6: ", skipped: 1},
	{file: "apache_require.conf", found: Apache, want: "203.0.113.7/32 203.0.113.0/28 198.51.100.1/32", wrong: 2, first: "line 4: "},
	{file: "hosts.txt", found: Hosts, want: "203.0.113.7/32", wrong: 3, first: "lists a name and not an address", skipped: 3},
	{file: "hosts_names.txt", found: Hosts, wrong: 2, skipped: 1},
	{file: "iptables.txt", found: IPTables, want: "203.0.113.7/32 198.51.100.0/24 203.0.113.11/32 203.0.113.12/32", wrong: 4, skipped: 2, published: "2026-11-23T04:10:02Z"},
}

// TestFiles reads each file in testdata.
func TestFiles(t *testing.T) {
	for _, test := range sampleFiles {
		t.Run(test.file+" "+test.options+string(test.encoding)+strings.Join(test.members, " "), test.run)
	}
}

func (test *sampleFile) run(t *testing.T) {
	body, err := os.ReadFile("testdata/" + test.file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	list := List{Add: func(p netip.Prefix) error {
		got = append(got, p.String())
		return nil
	}}
	if test.options == "asn" {
		list.AddASN = func(n uint32) error {
			got = append(got, strconv.Itoa(int(n)))
			return nil
		}
	}
	f := Format{Encoding: test.encoding, Members: test.members}
	if err := f.Complete(); err != nil {
		t.Fatal(err)
	}
	options := Options{Own: test.options == "own"}
	if found := (&collector{list: &list, options: options}).detect(body, &f); test.encoding == "" && found != test.found {
		t.Errorf("it is found to be %s, want %s", found, test.found)
	}
	err = list.Read(bytes.NewReader(body), f, options)
	if test.refused != "" {
		if err == nil || !strings.Contains(err.Error(), test.refused) {
			t.Errorf("got %v, want %q", err, test.refused)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Fields(test.want), got); diff != "" && len(got)+len(test.want) > 0 {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if list.Wrong != test.wrong || list.Skipped != test.skipped || list.Wrong > 0 && !strings.Contains(list.FirstWrong.Error(), test.first) {
		t.Errorf("%d wrong, %d skipped, want %d and %d; first: %v, want %q", list.Wrong, list.Skipped, test.wrong, test.skipped, list.FirstWrong, test.first)
	}
	published := ""
	if !list.Published.IsZero() {
		published = list.Published.Format(time.RFC3339Nano)
	}
	if published != test.published {
		t.Errorf("published %s, want %s", published, test.published)
	}
}
