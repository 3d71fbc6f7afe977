package e2e_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A process has one Caddy, and its tests mostly wait. So `go test` of the whole package runs them in several processes side
// by side: copies of the test binary, each with a batch of the tests. Linking Caddy once and starting it often is cheaper than
// several packages: with the race detector the one takes 22 s of CPU, the other 0.15 s.

const (
	batchSize = 6
	testLog   = "test.testlogfile" // is where go test learns which files and variables its cached result depends on
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

// runShards runs all tests, -parallel batches at a time, by default two for each CPU, and returns the exit code.
func runShards() int {
	parallel := 2 * runtime.GOMAXPROCS(0)
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "test.parallel" {
			parallel, _ = strconv.Atoi(f.Value.String())
		}
	})
	dir, err := os.MkdirTemp("", "ip_reputation_shards")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a folder for the shards:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	list, err := shard("-test.list=.").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "listing the tests:", err)
		return 1
	}
	batches := make(chan []string)
	go func() {
		defer close(batches)
		for _, batch := range batchesOf(strings.Fields(string(list))) {
			batches <- batch
		}
	}()
	var (
		running sync.WaitGroup
		mu      sync.Mutex // of what follows
		logs    bytes.Buffer
		code    int
	)
	for i := range parallel {
		running.Go(func() {
			logFile := filepath.Join(dir, strconv.Itoa(i))
			for batch := range batches {
				cmd := shard(append(slices.Clone(os.Args[1:]), "-"+testLog+"="+logFile, "-test.run=^("+strings.Join(batch, "|")+")$")...)
				output, err := cmd.CombinedOutput()
				log, _ := os.ReadFile(logFile) // without it, go test does not cache the result
				mu.Lock()
				if err != nil {
					code = 1
				}
				_, _ = os.Stdout.Write(withoutPass.ReplaceAll(output, nil))
				logs.Write(bytes.TrimPrefix(log, []byte(logMagic)))
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if log := flag.Lookup(testLog).Value.String(); log != "" && code == 0 {
		if err := os.WriteFile(log, append([]byte(logMagic), logs.Bytes()...), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "writing the test log:", err)
		}
	}
	return code
}

// logMagic is the first line of a test log.
const logMagic = "# test log\n"

// withoutPass finds the last line of a batch that passed, which is not that of the package.
var withoutPass = regexp.MustCompile("\x16?PASS\n$")

// shard returns the command that runs this binary as a shard.
func shard(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asShard+"=1")
	return cmd
}

// batchesOf spreads the tests over batches. Neighbours, which tend to be slow for the same reason, come into different ones.
func batchesOf(tests []string) [][]string {
	tests = slices.DeleteFunc(tests, func(name string) bool { return strings.HasPrefix(name, "Benchmark") })
	batches := make([][]string, (len(tests)+batchSize-1)/batchSize)
	for i, name := range tests {
		batches[i%len(batches)] = append(batches[i%len(batches)], name)
	}
	return batches
}
