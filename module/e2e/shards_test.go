package e2e_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process has one Caddy, and its tests mostly wait. So `go test` of the whole package runs them in several processes side
// by side: copies of the test binary, each with a batch of the tests. Linking Caddy once and starting it often is cheaper than
// several packages: with the race detector the one takes 8 s of CPU, the other 0.15 s.

// slow are the tests that take longest, most of it waiting. They begin first, each in a batch of its own.
var slow = []string{
	"TestHistoryOutlivesKills", "TestAFailover", "TestRedisFails", "TestCrowdSec", "TestDeployedMonitoringWatchesCaddy",
	"TestOwnEvidenceOfAllInstances", "TestABurst", "TestDamagedFiles", "TestHistoryIsNeverInTheWay", "TestRedisGoesAway",
	"TestDeployedFilesAreValid", "TestOneQuotaForAll", "TestReloads",
}

const (
	batchSize = 6

	testLog      = "test.testlogfile" // where go test reads which files and variables its cached result depends on
	testLogStart = "# test log\n"
)

// runsAll reports whether the whole package is tested, with no flag that needs all tests in one process, such as -run, -bench
// or -coverprofile.
func runsAll() bool {
	flag.Parse()
	all := true
	flag.Visit(func(f *flag.Flag) {
		all = all && slices.Contains([]string{
			"test.v", "test.timeout", "test.count", "test.parallel", "test.short", "test.paniconexit0", testLog,
		}, f.Name)
	})
	return all
}

// shards runs batches of tests in processes of their own.
type shards struct {
	ctx context.Context

	mu     sync.Mutex
	log    bytes.Buffer // the test logs of all
	failed bool
}

// runShards runs all tests, -parallel batches at a time, by default three for each CPU, and returns the exit code.
func runShards() int {
	parallel := 3 * runtime.GOMAXPROCS(0)
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "test.parallel" {
			parallel = f.Value.(flag.Getter).Get().(int)
		}
	})
	s, cancel := &shards{}, context.CancelFunc(func() {})
	s.ctx = context.Background()
	if timeout := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration); timeout > 0 {
		s.ctx, cancel = context.WithTimeout(s.ctx, timeout)
	}
	defer cancel()
	list, err := s.command("-test.list=.").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "listing the tests:", err)
		return 1
	}
	tests := strings.Fields(string(list))
	for _, name := range slow {
		if !slices.Contains(tests, name) {
			fmt.Fprintf(os.Stderr, "the slow test %s is not there: take it out of the list\n", name)
			return 1
		}
	}
	batches := batchesOf(tests)
	next := make(chan []string, len(batches))
	for _, batch := range batches {
		next <- batch
	}
	close(next)
	var running sync.WaitGroup
	for range parallel {
		running.Go(func() {
			for batch := range next {
				s.run(batch)
			}
		})
	}
	running.Wait()
	if s.failed {
		return 1
	}
	if path := flag.Lookup(testLog).Value.String(); path != "" {
		if err := os.WriteFile(path, append([]byte(testLogStart), s.log.Bytes()...), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "writing the test log:", err)
			return 1
		}
	}
	return 0
}

// lastLine finds the last line of a batch that passed, which is not that of the package.
var lastLine = regexp.MustCompile("\x16?PASS\n$")

// run runs a batch, and prints what it printed if that is asked for or it fails. When the time is up, nothing more is begun.
func (s *shards) run(batch []string) {
	if s.ctx.Err() != nil {
		s.fail()
		return
	}
	log, err := os.CreateTemp("", "ip_reputation_test_log")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a test log:", err)
		s.fail()
		return
	}
	defer os.Remove(log.Name())
	defer log.Close()
	tests := "^(" + strings.Join(batch, "|") + ")$"
	output, err := s.command(append(slices.Clone(os.Args[1:]), "-"+testLog+"="+log.Name(), "-test.run="+tests)...).CombinedOutput()
	if err != nil {
		output = fmt.Appendf(output, "%v with -run %s\n", err, strconv.Quote(tests))
		s.fail()
	}
	text, _ := os.ReadFile(log.Name()) // without it, go test does not cache the result
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || testing.Verbose() {
		_, _ = os.Stdout.Write(lastLine.ReplaceAll(output, nil))
	}
	s.log.Write(bytes.TrimPrefix(text, []byte(testLogStart)))
}

func (s *shards) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
}

// command returns the command that runs this binary as a shard. When the time is up, it shows where it is.
func (s *shards) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asShard+"=1", quickEnd())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// batchesOf spreads the tests over batches. Neighbours, which tend to be slow for the same reason, come into different ones.
func batchesOf(tests []string) [][]string {
	tests = slices.DeleteFunc(tests, func(name string) bool { return strings.HasPrefix(name, "Benchmark") || slices.Contains(slow, name) })
	batches := make([][]string, (len(tests)+batchSize-1)/batchSize)
	for i, name := range tests {
		batches[i%len(batches)] = append(batches[i%len(batches)], name)
	}
	var first [][]string
	for _, name := range slow {
		first = append(first, []string{name})
	}
	return append(first, batches...)
}
