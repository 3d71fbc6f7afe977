package feed

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// TestFormatsAreFound: lists are in force however they are written, without a word about it in the configuration.
func TestFormatsAreFound(t *testing.T) {
	for name, body := range map[string]string{
		"nginx":    "deny 192.0.2.1;\ndeny 198.51.100.0/28;\n",
		"ipset":    "create bad hash:net\nadd bad 198.51.100.7 timeout 0\n",
		"iptables": "*filter\n-A INPUT -s 198.51.100.7/32 -j DROP\nCOMMIT\n",
		"apache":   "<Limit GET>\nDeny from 198.51.100.7\n</Limit>\n",
		"range":    "198.51.100.4 - 198.51.100.9\n",
		"csv":      "seen,address\n2026-11-20,198.51.100.7\n",
		"json":     `{"creationTime":"2026-11-20T15:46:04","prefixes":[{"ipv4Prefix":"198.51.100.0/27"},{"ipv6Prefix":"2001:db8::/32"}]}`,
		"ndjson":   "{\"cidr\":\"198.51.100.7/32\"}\n{\"type\":\"metadata\",\"timestamp\":1795408762}\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "list")
			write(t, file, body)
			_, url := serve(t, text(body))
			s := mustOpen(t, Options{}, Spec{Name: "own", File: file, Own: true}, Spec{Name: "feed", URLs: []string{url}})
			if err := fetchNow(s, "feed"); err != nil {
				t.Fatal(err)
			}
			for _, list := range []string{"own", "feed"} {
				if !isListed(s.Current(), "198.51.100.7", list) || isListed(s.Current(), "203.0.113.7", list) {
					t.Errorf("the list %s is not in force as it is written", list)
				}
			}
		})
	}
}

// TestAmbiguousListIsRefusedUntilFieldNamesAPlace proves that the cure in the error works, and that nothing is in force
// before.
func TestAmbiguousListIsRefusedUntilFieldNamesAPlace(t *testing.T) {
	body := text(`{"hooks":["198.51.100.7"],"actions":["203.0.113.7"]}`)
	_, first := serve(t, body)
	_, second := serve(t, body)
	s := mustOpen(t, Options{}, Spec{Name: "any", URLs: []string{first}},
		Spec{Name: "hooks", URLs: []string{second}, Format: listformat.Format{Members: []string{"hooks[]"}}})
	if err := fetchNow(s, "any"); err == nil || !strings.Contains(err.Error(), `name one with `+"`field`"+`: "hooks[]", "actions[]"`) {
		t.Errorf("got %v", err)
	}
	if isListed(s.Current(), "198.51.100.7", "any") || isListed(s.Current(), "203.0.113.7", "any") {
		t.Error("half of the list is in force")
	}
	if err := fetchNow(s, "hooks"); err != nil || !isListed(s.Current(), "198.51.100.7", "hooks") || isListed(s.Current(), "203.0.113.7", "hooks") {
		t.Errorf("%v, or the list is not in force as `field` says", err)
	}
}
