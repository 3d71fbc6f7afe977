package mmdb

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"
)

// TestRealFiles compares files that others have written with what the library reads in them. `make services` fetches
// some where npm is installed; IPREP_TEST_MMDB names another folder.
func TestRealFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(cmp.Or(os.Getenv("IPREP_TEST_MMDB"), "../../../.bin/mmdb"), "*.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("there are no files; TestFactsAgreeWithTheFile compares files of our own")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := parse(context.Background(), data, nil)
			if err != nil {
				t.Fatal(err)
			}
			reader, err := maxminddb.OpenBytes(data)
			if err != nil {
				t.Fatal(err)
			}
			set, known := Set{fixed(c)}, 0
			random := rand.New(rand.NewPCG(1, 2))
			for range 100_000 {
				addr := netip.AddrFrom4([4]byte{byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())})
				var want struct {
					Country string `maxminddb:"country_code"`
					ASN     uint32 `maxminddb:"autonomous_system_number"`
				}
				if err := reader.Lookup(addr).Decode(&want); err != nil {
					t.Fatal(err)
				}
				got := set.Facts(addr)
				if got.Country != want.Country || got.ASN != want.ASN {
					t.Fatalf("%s: got %+v; want %+v", addr, got, want)
				}
				if got.Country != "" || got.ASN != 0 {
					known++
				}
			}
			if known < 10_000 {
				t.Errorf("of 100,000 addresses, something is known of %d", known)
			}
		})
	}
}
