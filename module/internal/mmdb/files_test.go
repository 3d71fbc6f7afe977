package mmdb

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

var update = flag.Bool("update", false, "write the databases in testdata/adapt/files")

// TestFilesOfAdapt makes the databases that testdata/adapt reads, with -update.
func TestFilesOfAdapt(t *testing.T) {
	for name, networks := range map[string][]testenv.Network{
		"asn": {{Prefix: "203.0.113.0/24", Record: m{
			"autonomous_system_number": uint(64500), "autonomous_system_organization": "Example Net",
		}}},
		"country": {{Prefix: "203.0.113.0/24", Record: m{"country": m{"iso_code": "NL"}}}},
		"own": {{Prefix: "203.0.113.0/24", Record: m{
			"geo": m{"code": "NL"}, "network": m{"number": "AS64500"}, "usage_type": "DCH",
		}}},
	} {
		file := "../../../testdata/adapt/files/" + name + ".mmdb"
		want := testenv.MMDB{Type: "Test-" + name, Networks: networks}.Bytes(t)
		if *update {
			if err := os.WriteFile(file, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not as it should be (%v): run with -update", file, err)
		}
	}
}
