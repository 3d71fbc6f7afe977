package e2e_test

import (
	"fmt"
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// The tests of this package run against a real Caddy on loopback: in this process, of which there is one, so they do not
// run in parallel; or, where a process must end or an exit code counts, in a copy of the test binary that runs as caddy.
// To use the machine all the same, the test binary runs the tests in several copies of itself (shards_test.go).

const (
	asCaddy = "IP_REPUTATION_TEST_AS_CADDY" // makes the test binary run as caddy
	asShard = "IP_REPUTATION_TEST_AS_SHARD" // makes it run its tests itself
	keyName = "IP_REPUTATION_TEST_KEY"      // holds the key that the stand-in for AbuseIPDB accepts
	keyText = "a-key-that-must-not-leak"
)

// quickEnd is the variable that lets a copy of the test binary end at once. Otherwise the race detector sleeps for a second.
func quickEnd() string { return "GORACE=atexit_sleep_ms=0 " + os.Getenv("GORACE") }

// dataRoot holds everything that Caddy writes during the tests. It outlives them: a stopped configuration may still be
// saving what it knows.
var dataRoot string

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asCaddy) != "":
		caddycmd.Main()
	case os.Getenv(asShard) == "" && runsAll():
		os.Exit(runShards())
	default:
		os.Exit(runTests(m))
	}
}

func runTests(m *testing.M) int {
	var err error
	if dataRoot, err = os.MkdirTemp("", "ip_reputation_test"); err != nil {
		fmt.Fprintln(os.Stderr, "making a folder for the tests:", err)
		return 1
	}
	defer os.RemoveAll(dataRoot)
	for name, value := range map[string]string{
		"HOME": dataRoot, "XDG_DATA_HOME": dataRoot, "XDG_CONFIG_HOME": dataRoot, keyName: keyText,
	} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, "preparing the environment:", err)
			return 1
		}
	}
	return m.Run()
}
