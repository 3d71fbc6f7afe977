package preset

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// changing are the presets whose address changes, so that the operator names it.
var changing = []string{"azure"}

// TestRows holds that each row says all that operators and the look-up need.
func TestRows(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			p, ok := Find(name)
			if !ok || p.Name != name || !reputation.ValidName(name) {
				t.Errorf("it is named %q", p.Name)
			}
			if (len(p.URLs) == 0) != slices.Contains(changing, name) {
				t.Errorf("%d URLs", len(p.URLs))
			}
			for _, raw := range p.URLs {
				u, err := url.Parse(raw)
				if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
					t.Errorf("%s is no proper https URL", raw)
				}
			}
			if p.Format.Encoding == "" && name != "tor_exits" {
				t.Error("it has no format")
			}
			p.checkMeaning(t)
			if p.MinRefresh < feed.DefaultTimeout || p.Refresh < p.MinRefresh || p.Refresh > 7*day {
				t.Errorf("refresh %s, at most every %s", p.Refresh, p.MinRefresh)
			}
			if p.MaxAge < 2*p.Refresh {
				t.Errorf("old after %s, and fetched every %s", p.MaxAge, p.Refresh)
			}
			for field, text := range map[string]string{"Says": p.Says, "Terms": p.Terms, "Group": p.Group} {
				if text == "" || strings.ContainsAny(text, "|\n") || len(text) > 100 {
					t.Errorf("%s is %q", field, text)
				}
			}
			if !slices.Contains([]Certainty{Confirmed, Likely, Unconfirmed}, p.Sure) {
				t.Errorf("the certainty is %q", p.Sure)
			}
			if strings.Contains(p.Terms, "non-commercial") && !p.Restricted || p.NeedsKey() && !p.Restricted {
				t.Error("its terms are restricted")
			}
		})
	}
	if _, ok := Find("nonsense"); ok {
		t.Error("there is no such preset")
	}
}

// checkMeaning checks what the row says of an address.
func (p Preset) checkMeaning(t *testing.T) {
	t.Helper()
	if !(p.Confidence > 0 && p.Confidence <= 0.95) {
		t.Errorf("confidence %v", p.Confidence)
	}
	if (p.Weight > 0) != (p.Categories != 0) || p.Weight < 0 || p.Weight > 34 {
		t.Errorf("weight %v, with the categories %q", p.Weight, p.Categories)
	}
	if p.Nature.Some() && (p.Group != nature || p.Weight > 8) {
		t.Errorf("what an address is costs %v points in the group %s", p.Weight, p.Group)
	}
	if relay, _ := p.Nature.Is(reputation.NatureRelay); relay && p.Weight != 0 {
		t.Error("a relay is punished")
	}
	if p.Exempt && p.Accuses() {
		t.Error("attackers are not to be exempted")
	}
	if hosting, _ := p.Nature.Is(reputation.NatureHosting); hosting && p.Exempt {
		t.Error("anybody can rent a machine there")
	}
}

// TestSpec holds that a row is a valid list, and that nobody can ask for it more often than its publisher
// tolerates.
func TestSpec(t *testing.T) {
	for _, name := range Names() {
		p, _ := Find(name)
		spec := p.Spec()
		if len(p.URLs) == 0 {
			spec.File = "/somewhere/" + name
		}
		if err := feed.Check(spec); err != nil {
			t.Error(err)
		}
		if spec.Own || spec.Name != name || spec.Terms == "" {
			t.Errorf("%s: %+v", name, spec)
		}
		if spec.Refresh = p.MinRefresh - time.Second; len(p.URLs) > 0 && feed.Check(spec) == nil {
			t.Errorf("%s may be fetched every %s", name, spec.Refresh)
		}
	}
}

// TestFindCopies holds that nobody can change the table.
func TestFindCopies(t *testing.T) {
	for _, name := range Names() {
		p, _ := Find(name)
		for i := range p.URLs {
			p.URLs[i] = "changed"
		}
		for i := range p.Format.Members {
			p.Format.Members[i] = "changed"
		}
		for header := range maps.Keys(p.Header) {
			p.Header[header] = "changed"
		}
		again, _ := Find(name)
		if slices.Contains(again.URLs, "changed") || slices.Contains(again.Format.Members, "changed") ||
			slices.Contains(slices.Collect(maps.Values(again.Header)), "changed") {
			t.Errorf("%s: a caller changed the preset of others", name)
		}
	}
}

func TestNames(t *testing.T) {
	want := []string{
		"abuseipdb_blacklist", "akamai", "aws", "azure", "binary_defense", "blocklist_de", "blocklist_de_apache",
		"blocklist_de_bots", "blocklist_de_bruteforcelogin", "blocklist_de_ftp", "blocklist_de_imap", "blocklist_de_ircbot",
		"blocklist_de_mail", "blocklist_de_sip", "blocklist_de_ssh", "blocklist_de_strongips", "bruteforceblocker", "bunny",
		"cins", "cloudflare", "contabo", "digitalocean", "dshield", "emerging_threats", "fastly", "feodo", "firehol_level1",
		"firehol_level2", "firehol_level3", "firehol_level4", "gcore", "gcp", "greensnow", "hetzner",
		"icloud_private_relay",
		"ipsum", "linode", "oracle", "ovh",
		"scaleway", "spamhaus_asndrop", "spamhaus_drop", "stopforumspam_toxic", "tor_exits", "vultr",
		"x4bnet_datacenter", "x4bnet_vpn",
	}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Error(diff)
	}
}

func TestNear(t *testing.T) {
	for word, want := range map[string][]string{
		"ipsun": {"ipsum"}, "Cloudflare": {"cloudflare"}, "spamhouse_drop": {"spamhaus_drop"}, "firehol_level": {
			"firehol_level1", "firehol_level2", "firehol_level3",
		},
		"cloud": {"cloudflare"}, "spamhaus": {"spamhaus_drop", "spamhaus_asndrop"}, "x": nil, "": nil, "198.51.100.777": nil,
		"nonsense": nil, strings.Repeat("a", 100): nil,
	} {
		if got := Near(word); !slices.Equal(got, want) {
			t.Errorf("%q is near to %q, want %q", word, got, want)
		}
	}
}
