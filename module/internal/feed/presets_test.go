package feed

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestPresetsReadWhatPublishersWrite reads recorded answers, by the real transport from a stand-in.
func TestPresetsReadWhatPublishersWrite(t *testing.T) {
	for _, test := range []struct {
		preset string
		parts  []string
		listed []string
		not    []string
		lines  int
	}{
		{"spamhaus_drop", []string{"spamhaus_drop_v4.json", "spamhaus_drop_v6.json"},
			[]string{"203.0.113.0", "203.0.113.255", "198.51.100.127", "2001:db8:bad::1"}, []string{"198.51.100.128", "2001:db8:bae::1"}, 3},
		{"firehol_level1", []string{"firehol_level1.netset"},
			[]string{"198.51.100.7", "203.0.113.9"},
			[]string{"198.51.100.8", "0.0.0.1", "10.1.2.3", "100.64.0.1", "127.0.0.1", "172.16.0.1", "192.168.1.1", "224.0.0.1", "255.255.255.255", "::1"}, 9},
		{"ipsum", []string{"ipsum.txt"}, []string{"203.0.113.20", "203.0.113.102", "198.51.100.33"}, []string{"198.51.100.34"}, 3},
		{"tor_exits", []string{"tor_exits.txt"}, []string{"203.0.113.33", "203.0.113.34", "198.51.100.201"}, []string{"203.0.113.35"}, 3},
		{"blocklist_de", []string{"blocklist_de.txt"}, []string{"203.0.113.4", "2001:db8::22"}, []string{"2001:db8::23"}, 5},
		{"feodo", []string{"feodo.json"}, []string{"203.0.113.32", "198.51.100.73"}, []string{"203.0.113.33"}, 2},
		{"feodo", []string{"feodo_empty.json"}, nil, []string{"203.0.113.32"}, 0},
		{"emerging_threats", []string{"emerging_threats.txt"}, []string{"203.0.113.99", "198.51.100.99"}, []string{"198.51.100.200"}, 2},
		{"x4bnet_vpn", []string{"x4bnet_vpn_v4.txt", "x4bnet_vpn_v6.txt"}, []string{"203.0.113.1", "198.51.100.31", "2001:db8:7::1"}, []string{"203.0.113.128"}, 3},
		{"x4bnet_datacenter", []string{"x4bnet_datacenter_v4.txt", "x4bnet_datacenter_v6.txt"}, []string{"203.0.113.200", "2001:db8:8::1"}, []string{"192.0.2.1"}, 3},
	} {
		t.Run(test.preset+" "+test.parts[0], func(t *testing.T) {
			preset, ok := Preset(test.preset)
			if !ok || len(preset.Spec.URLs) != len(test.parts) {
				t.Fatalf("%+v", preset)
			}
			spec := preset.Spec
			_, base := serve(t, func(w http.ResponseWriter, r *http.Request) { text(read(t, "testdata", path.Base(r.URL.Path)))(w, r) })
			for i, part := range test.parts {
				spec.URLs[i] = base + "/" + part
			}
			checkLists(t, spec, test.listed, test.not, test.lines)
		})
	}
}

// TestOtherRecordedFormats: any URL or file in a usual notation can be read.
func TestOtherRecordedFormats(t *testing.T) {
	for _, test := range []struct {
		file   string
		format listformat.Format
		listed []string
		not    []string
		lines  int
	}{
		{"spamhaus_drop.txt", listformat.Format{}, []string{"203.0.113.0", "198.51.100.127"}, []string{"198.51.100.128"}, 2},
		{"feodo.csv", listformat.Format{Encoding: listformat.CSV, Members: []string{"dst_ip"}}, []string{"203.0.113.32"}, []string{"203.0.113.33"}, 1},
		{"feodo_empty.txt", listformat.Format{}, nil, []string{"203.0.113.33"}, 0},
		{"bruteforceblocker.txt", listformat.Format{}, []string{"203.0.113.48", "198.51.100.89"}, nil, 2},
		{"apple_relay.csv", listformat.Format{}, []string{"203.0.113.225", "2001:db8:2:1000::1"}, nil, 3},
		{"google_crawlers.json", listformat.Format{Encoding: listformat.JSON, Members: []string{"ipv4Prefix", "ipv6Prefix"}}, []string{"203.0.113.64", "2001:db8:4801:10::1"}, []string{"203.0.113.63"}, 2},
		{"aws.json", listformat.Format{Encoding: listformat.JSON, Members: []string{"ip_prefix", "ipv6_prefix"}}, []string{"203.0.113.1", "2001:db8:aa::1"}, []string{"203.0.113.128"}, 3},
	} {
		t.Run(test.file, func(t *testing.T) {
			checkLists(t, Spec{Name: "one", File: "testdata/" + test.file, Format: test.format, AllowEmpty: test.lines == 0}, test.listed, test.not, test.lines)
		})
	}
}

func checkLists(t *testing.T, spec Spec, listed, not []string, lines int) {
	t.Helper()
	s := mustOpen(t, Options{Dir: t.TempDir()}, spec)
	if spec.kind() == KindURL {
		if err := fetchNow(s, spec.Name); err != nil {
			t.Fatal(err)
		}
	}
	s.rebuild() // from the copy
	for _, addr := range listed {
		if !isListed(s.Current(), addr, spec.Name) {
			t.Errorf("%s is not listed", addr)
		}
	}
	for _, addr := range not {
		if isListed(s.Current(), addr, spec.Name) {
			t.Errorf("%s is listed", addr)
		}
	}
	if got := statusOf(t, s, spec.Name); got.Lines != lines || got.Ignored != 0 || !got.Loaded || got.Terms != spec.Terms {
		t.Errorf("status: %+v", got)
	}
}

func TestPresets(t *testing.T) {
	want := []string{"blocklist_de", "emerging_threats", "feodo", "firehol_level1", "ipsum", "spamhaus_drop", "tor_exits", "x4bnet_datacenter", "x4bnet_vpn"}
	if diff := cmp.Diff(want, PresetNames()); diff != "" {
		t.Error(diff)
	}
	for _, name := range want {
		p, _ := Preset(name)
		if _, err := p.Spec.complete(); err != nil {
			t.Error(err)
		}
		for _, raw := range p.Spec.URLs {
			if u, err := url.Parse(raw); err != nil || u.Scheme != "https" {
				t.Errorf("%s: %s is not https", name, raw)
			}
		}
		if p.Spec.Own || p.Spec.Terms == "" || p.Confidence <= 0 || p.Confidence > 0.95 {
			t.Errorf("%s: %+v", name, p)
		}
		if strings.Contains(p.Spec.Terms, "non-commercial") {
			t.Errorf("%s: a preset must be free to use", name)
		}
		p.Spec.URLs[0] = "changed"
		if again, _ := Preset(name); slices.Contains(again.Spec.URLs, "changed") {
			t.Errorf("%s: a caller changed the preset of others", name)
		}
	}
	if _, ok := Preset("nonsense"); ok {
		t.Error("there is no such preset")
	}
	if p, _ := Preset("tor_exits"); *p.Nature != reputation.NatureTor {
		t.Errorf("tor_exits are %s", *p.Nature)
	}
}
