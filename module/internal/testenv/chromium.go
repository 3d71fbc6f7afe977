package testenv

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// chromiumNames are the names of the browser.
var chromiumNames = []string{"chromium", "chromium-browser", "google-chrome"}

// chromiumTimeout is the time for one page, on a loaded machine.
const chromiumTimeout = 2 * time.Minute

// Chromium opens a page in a headless Chromium with an empty profile, runs its scripts for five
// seconds of virtual time, and returns the resulting document.
func Chromium(tb testing.TB, url string) string {
	tb.Helper()
	runtime.LockOSThread() // see startProcess
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(context.Background(), chromiumTimeout)
	defer cancel()
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(profile) }) // its processes may still be writing
	cmd := exec.CommandContext(ctx, chromium(tb),    //nolint:gosec // the arguments come from tests
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--no-first-run", "--user-data-dir="+profile,
		"--virtual-time-budget=5000", "--dump-dom", url)
	// child processes may hold the pipe after the kill
	cmd.SysProcAttr, cmd.WaitDelay = killWithParent(), time.Second
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("chromium %s: %v\n%s", url, err, out)
	}
	return string(out)
}

// chromium returns the path of the browser. Without one, the test ends: see missing.
func chromium(tb testing.TB) string {
	tb.Helper()
	for _, name := range chromiumNames {
		if path, ok := locate(name); ok {
			return path
		}
	}
	missing(tb, "chromium", "apt-get install chromium")
	return ""
}
