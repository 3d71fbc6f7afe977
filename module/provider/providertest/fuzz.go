package providertest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Reader is the part of a provider that makes a report of an answer, and what no answer can make it say.
type Reader struct {
	// Read returns the report of an answer's body about an address that was asked about.
	Read func(body []byte, addr netip.Addr) (reputation.Report, error)

	// Capabilities are those of the profile. A report has no more.
	Capabilities reputation.Capabilities

	// Severity and Confidence are the least and the most that a report can have.
	Severity, Confidence Range

	// Accusations are the categories that stand for the severity: a report has one of them if its severity is above 0,
	// and only then. Default: all of the capabilities.
	Accusations reputation.Categories

	// Unknown is set if an answer may say that the service does not know the address. Otherwise each error is
	// reputation.ErrBadAnswer.
	Unknown bool

	// Check, if set, returns what else is wrong with a report.
	Check func(r reputation.Report) error
}

// Range is what a number can be, its ends included.
type Range struct{ Least, Most float64 }

func (r Range) has(f float64) bool { return f >= r.Least && f <= r.Most } // false for NaN

// Fuzz feeds answers to readers, of which a provider has one for each of its products. It begins with the files in
// testdata, each about the addresses that it names and 203.0.113.10, and with what was added to f: the body as []byte, and the address as
// string.
func Fuzz(f *testing.F, readers ...Reader) {
	f.Helper()
	for _, body := range Samples(f, filepath.Join("testdata", "*.json")) {
		f.Add(body, usualAddr)
		for _, addr := range addressesIn(body) {
			f.Add(body, addr)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, address string) {
		addr, err := netip.ParseAddr(address)
		if err != nil || addr.Is4In6() || addr.Zone() != "" {
			return // no Query has it
		}
		for _, r := range readers {
			if err := r.check(body, addr); err != nil {
				t.Error(err)
			}
		}
	})
}

// check reads an answer, and returns an error about what no answer can make a provider say.
func (r *Reader) check(body []byte, addr netip.Addr) error {
	report, err := r.Read(body, addr)
	switch {
	case errors.Is(err, reputation.ErrBadAnswer), r.Unknown && errors.Is(err, reputation.ErrUnknown):
		return nil
	case err != nil:
		return fmt.Errorf("the error has no class: %w", err)
	}
	accusations := r.Accusations
	if accusations == 0 {
		accusations = r.Capabilities.Categories
	}
	switch {
	case !r.Severity.has(report.Severity) || !r.Confidence.has(report.Confidence):
		err = fmt.Errorf("the severity is not in %v, or the confidence not in %v", r.Severity, r.Confidence)
	case report.Severity > 0 && report.Categories&accusations == 0:
		err = errors.New("it accuses without a category")
	case report.Severity <= 0 && report.Categories&accusations != 0:
		err = errors.New("a category accuses without a severity")
	case report.Facts.Network.IsValid() && !report.Facts.Network.Contains(addr):
		err = errors.New("the network is not that of the address")
	}
	if r.Check != nil {
		err = errors.Join(err, r.Check(report))
	}
	if err := errors.Join(err, checkRanges(report), r.Capabilities.Check(report)); err != nil {
		return fmt.Errorf("the report %s: %w", describe(report), err)
	}
	return nil
}

// addressesIn returns the addresses in a text.
func addressesIn(text []byte) (list []string) {
	notAddress := func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF:.", r) }
	for word := range strings.FieldsFuncSeq(string(text), notAddress) {
		if addr, err := netip.ParseAddr(word); err == nil && addr == addr.Unmap() {
			list = append(list, addr.String())
		}
	}
	return list
}

// Samples returns the contents of the files that match a pattern, such as "testdata/*.json", for a fuzz test to begin
// with. It fails the test if there is none.
func Samples(tb testing.TB, pattern string) (bodies [][]byte) {
	tb.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		tb.Fatalf("no samples in %s: %v", pattern, err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}
