package listformat

import (
	"os"
	"testing"
)

// checkContent holds for whatever was read: nothing in it could block the world, and nothing is unmasked.
func checkContent(t *testing.T, c *List) {
	for _, p := range c.Prefixes {
		if !p.IsValid() || p != p.Masked() || TooWide(p) || p.Addr().Is4In6() && p.Bits() >= 96 {
			t.Errorf("%v was accepted", p)
		}
	}
}

func fuzzFormat(f *testing.F, format Format, seeds ...string) {
	for _, name := range seeds {
		body, err := os.ReadFile("../feed/testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte("\ufeff192.0.2.1,x\r\n"))
	f.Add([]byte(`{"a":[{"ip":"::1"}],"b":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parse(string(body), format, false)
		if err == nil || len(c.Prefixes) > 0 {
			checkContent(t, c)
		}
	})
}

func FuzzText(f *testing.F) {
	fuzzFormat(f, Format{}, "firehol_level1.netset", "bruteforceblocker.txt")
}

func FuzzCounted(f *testing.F) { fuzzFormat(f, Format{MinCount: 3}, "ipsum.txt") }

func FuzzNDJSON(f *testing.F) {
	fuzzFormat(f, Format{Encoding: NDJSON, Members: []string{"cidr"}}, "spamhaus_drop_v4.json", "spamhaus_drop_v6.json")
}

func FuzzJSON(f *testing.F) {
	fuzzFormat(f, Format{Encoding: JSON, Members: []string{"ip_address", "ipv4Prefix", "ipv6Prefix"}}, "feodo.json", "google_crawlers.json", "aws.json")
}

func FuzzCSV(f *testing.F) {
	fuzzFormat(f, Format{Encoding: CSV, Members: []string{"dst_ip"}}, "feodo.csv")
}
