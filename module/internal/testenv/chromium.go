package testenv

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// chromiumNames are what the browser is called.
var chromiumNames = []string{"chromium", "chromium-browser", "google-chrome"}

// chromiumPatience is for one page on a loaded machine.
const chromiumPatience = 2 * time.Minute

// Chromium opens a page in a headless Chromium that knows nothing, lets its scripts run for five seconds of its own time,
// which pass as fast as they can, and returns the document as they have left it.
func Chromium(tb testing.TB, url string) string {
	tb.Helper()
	runtime.LockOSThread() // see startProcess
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(context.Background(), chromiumPatience)
	defer cancel()
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(profile) }) // its processes may still write for a moment
	cmd := exec.CommandContext(ctx, chromium(tb),    //nolint:gosec // the tests say what is run
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--no-first-run", "--user-data-dir="+profile,
		"--virtual-time-budget=5000", "--dump-dom", url)
	cmd.SysProcAttr, cmd.WaitDelay = dieWithUs(), time.Second // others than the one that was killed may hold the pipe
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("chromium %s: %v\n%s", url, err, out)
	}
	return string(out)
}

// chromium returns the path of the browser, and ends the test when there is none.
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
