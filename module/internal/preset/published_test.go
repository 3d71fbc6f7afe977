package preset

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// published is what publishers of presets answer with, a file of testdata for each URL, and the prefixes that
// must be listed then. A file.zip is an archive of the files named before the dot.
var published = []struct {
	presets string
	files   string
	want    string
}{
	{
		"spamhaus_drop", "spamhaus_drop_v4.json spamhaus_drop_v6.json",
		"198.51.100.0/25 203.0.113.0/24 2001:db8:bad::/48",
	},
	{"spamhaus_asndrop", "spamhaus_asndrop.json", "AS64500 AS64501"},
	// Reserved ranges are in these lists, and are left out.
	{"firehol_level1", "firehol_level1.netset", "198.51.100.7/32 203.0.113.0/24"},
	{"firehol_level2 firehol_level3 firehol_level4", "firehol_level.netset", "198.51.100.7/32 203.0.113.128/25"},
	{"ipsum", "ipsum.txt", "198.51.100.33/32 203.0.113.20/32 203.0.113.102/32"},
	{"abuseipdb_blacklist", "abuseipdb_blacklist.json", "203.0.113.21/32 2001:db8:21::7/128"},
	{"feodo", "feodo.json", "198.51.100.73/32 203.0.113.32/32"},
	{"feodo", "feodo_empty.json", ""},
	{"emerging_threats", "emerging_threats.txt", "198.51.100.99/32 203.0.113.99/32"},
	{"cins greensnow", "addresses.txt", "198.51.100.43/32 203.0.113.41/32"},
	{"binary_defense", "binary_defense.txt", "198.51.100.62/32 203.0.113.61/32"},
	{"dshield", "dshield.txt", "198.51.100.0/24 203.0.113.0/24"},
	{"bruteforceblocker", "bruteforceblocker.txt", "198.51.100.89/32 203.0.113.48/32"},
	{"stopforumspam_toxic", "cidrs.txt", "198.51.100.64/26 203.0.113.0/24"},
	{
		"blocklist_de", "blocklist_de.txt",
		"198.51.100.34/32 198.51.100.80/32 203.0.113.4/32 203.0.113.45/32 2001:db8::22/128",
	},
	{
		"blocklist_de_apache blocklist_de_bots blocklist_de_bruteforcelogin blocklist_de_ftp blocklist_de_imap " +
			"blocklist_de_ircbot blocklist_de_mail blocklist_de_sip blocklist_de_ssh blocklist_de_strongips",
		"blocklist_de_part.txt", "203.0.113.4/32 2001:db8::22/128",
	},
	{
		"tor_exits", "tor_exits.txt onionoo.json", "192.0.2.141/32 192.0.2.142/32 192.0.2.144/32 198.51.100.141/32 " +
			"198.51.100.201/32 203.0.113.33/32 203.0.113.34/32 2001:db8::141/128",
	},
	{"x4bnet_vpn", "x4bnet_vpn_v4.txt x4bnet_vpn_v6.txt", "198.51.100.16/28 203.0.113.0/25 2001:db8:7::/48"},
	{
		"x4bnet_datacenter", "x4bnet_datacenter_v4.txt x4bnet_datacenter_v6.txt",
		"198.51.100.0/24 203.0.113.0/24 2001:db8:8::/48",
	},
	{
		"icloud_private_relay", "icloud_private_relay.csv",
		"198.51.100.224/31 203.0.113.224/27 2001:db8:2:1000::/64",
	},
	{"aws", "aws.json", "203.0.113.0/25 2001:db8:aa::/48"},
	{"azure", "azure.json", "198.51.100.128/25 203.0.113.9/32 2001:db8:cc::/48"},
	{"digitalocean", "digitalocean.csv", "198.51.100.0/25 203.0.113.0/24 2001:db8:d0::/48"},
	{"gcp", "gcp.json", "198.51.100.0/25 2001:db8:bb::/48"},
	{"linode", "linode.csv", "203.0.113.0/24 2001:db8:3c00::/40"},
	{"oracle", "oracle.json", "198.51.100.0/26 203.0.113.0/25"},
	{"vultr", "vultr.json", "198.51.100.0/24 2001:db8:f0::/44"},
	{"contabo ovh scaleway", "announced.json", "198.51.100.0/24 2001:db8:4f8::/45"},
	{
		"hetzner", "announced.json announced_2.json announced_none.json announced_2.json",
		"198.51.100.0/24 203.0.113.0/24 2001:db8:4f8::/45",
	},
	{"bunny", "bunny_v4.json bunny_v6.json", "192.0.2.1/32 198.51.100.9/32 2001:db8:b::1/128"},
	{"cloudflare", "cloudflare.json", "192.0.2.0/24 198.51.100.0/25 2001:db8:cf::/48"},
	{"fastly", "fastly.json", "192.0.2.0/24 2001:db8:40::/48"},
	{"gcore", "gcore.json", "192.0.2.7/32 198.51.100.0/28 2001:db8:92::/64"},
}

// TestWhatPublishersWriteIsRead fetches each preset from its own URLs, with a stand-in for its publisher, and
// holds that exactly the published prefixes are listed.
func TestWhatPublishersWriteIsRead(t *testing.T) {
	tested := make(map[string]bool)
	var first, more []answer // of the first example of each preset, and of further ones
	for _, row := range published {
		for _, name := range strings.Fields(row.presets) {
			p, _ := Find(name)
			if slices.Contains(changing, name) {
				p.URLs = []string{"https://publisher.example.com/" + name}
			}
			a := answer{p, strings.Fields(row.files), strings.Fields(row.want)}
			if len(a.files) != len(p.URLs) {
				t.Fatalf("%s: the files %v for the URLs %v", name, a.files, p.URLs)
			}
			if tested[name] {
				more = append(more, a)
			} else {
				first = append(first, a)
			}
			tested[name] = true
		}
	}
	for _, name := range Names() {
		if !tested[name] {
			t.Errorf("nothing holds that %s is read as it is published", name)
		}
	}
	fetch(t, first)
	fetch(t, more)
}

// answer is what the publisher of a preset answers with, and what must be listed then.
type answer struct {
	Preset
	files, want []string
}

// fetch reads presets from a stand-in, and checks what is listed then.
func fetch(t *testing.T, answers []answer) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, a := range answers {
			if part := slices.Index(a.URLs, "https://"+r.Host+r.URL.String()); part >= 0 {
				a.checkHeader(t, r)
				serveFile(t, w, a.files[part])
				return
			}
		}
		t.Errorf("%s %s%s was asked for", r.Method, r.Host, r.URL)
	}))
	defer server.Close()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
	transport := &http.Transport{DialContext: dial, DialTLSContext: dial, DisableCompression: true}
	defer transport.CloseIdleConnections()
	var specs []feed.Spec
	for _, a := range answers {
		specs = append(specs, a.Spec())
	}
	set, err := feed.Open(specs, feed.Options{Dir: t.TempDir(), Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	set.Start()
	var refreshes sync.WaitGroup
	for _, a := range answers {
		refreshes.Go(func() {
			err := set.Refresh(t.Context(), a.Name)
			if err != nil && !errors.Is(err, feed.ErrTooSoon) { // the schedule may have been faster
				t.Error(err)
			}
		})
	}
	refreshes.Wait()
	for deadline := time.Now().Add(10 * time.Second); !allLoaded(set) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for i, ranges := range set.Current().Index.Lists() {
		var words []string
		for _, prefix := range slices.SortedFunc(ranges.Prefixes(), netip.Prefix.Compare) {
			words = append(words, prefix.String())
		}
		for asn := range uint32(65536) {
			if slices.Contains(set.Current().Named(asn, ""), uint16(i)) {
				words = append(words, fmt.Sprintf("AS%d", asn))
			}
		}
		answers[i].check(t, set.Status()[i], words)
	}
}

func allLoaded(set *feed.Set) bool {
	return !slices.ContainsFunc(set.Current().Lists, func(l feed.ListState) bool { return !l.Loaded })
}

func (a answer) checkHeader(t *testing.T, r *http.Request) {
	for name, value := range a.Header {
		if got := r.Header.Get(name); got != value {
			t.Errorf("%s: header %s is %q, want %q", a.Name, name, got, value)
		}
	}
}

func (a answer) check(t *testing.T, status feed.Status, listed []string) {
	t.Helper()
	if diff := cmp.Diff(a.want, listed, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: listed are:\n%s", a.Name, diff)
	}
	if status.Ignored != 0 || !status.Loaded || status.Terms != a.Terms {
		t.Errorf("%s: status %+v", a.Name, status)
	}
	v6 := strings.Contains(strings.Join(listed, " "), ":")
	if len(listed) > 0 && v6 != a.IPv6 && !a.ASNs {
		t.Errorf("%s: IPv6 is %t, the row says %t", a.Name, v6, a.IPv6)
	}
}

// serveFile answers with a file, or with an archive of files.
func serveFile(t *testing.T, w http.ResponseWriter, name string) {
	packed, isZip := strings.CutSuffix(name, ".zip")
	if !isZip {
		body, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
		return
	}
	archive := zip.NewWriter(w)
	for _, member := range strings.Split(packed, ",") {
		body, err := os.ReadFile(filepath.Join("testdata", member))
		if err != nil {
			t.Error(err)
		}
		// An archive that was made on a Mac has a second file beside each, which is binary.
		for path, content := range map[string][]byte{member: body, "__MACOSX/._" + member: {0, 5, 22, 7}} {
			file, err := archive.Create(path)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = file.Write(content)
		}
	}
	_ = archive.Close()
}
