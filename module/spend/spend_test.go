package spend

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// With calls for 2 % of the clients, three times as much abuse is covered as with first come, whether or not the site
// says what matters, and fewer of the others are asked about. It is by far more, so that chance in the hashes does not
// matter.
func TestWhereItMatters(t *testing.T) {
	for name, site := range map[string]struct{ files, priority bool }{
		"the site says what matters": {false, true},
		"it does not":                {false, false},
		"pages load files":           {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			day := generate(6000, 1, site.files)
			day.priority = site.priority
			results, err := compare(day, []float64{2})
			if err != nil {
				t.Fatal(err)
			}
			spread, first, ours := results[0], results[1], results[2]
			if ours.coverage() < 3*first.coverage() || first.coverage() < spread.coverage() || ours.coverage() < .2 {
				t.Errorf("coverage: %.3f unpaced, %.3f first come, %.3f where it matters",
					spread.coverage(), first.coverage(), ours.coverage())
			}
			if 2*ours.needless > first.needless {
				t.Errorf("of the others, %d are asked about, with first come %d", ours.needless, first.needless)
			}
			for _, r := range results {
				if r.asked > r.quota || r.asked < r.quota*98/100 {
					t.Errorf("%s: %d calls of %d", r.way.name, r.asked, r.quota)
				}
			}
		})
	}
}

// The same seed makes the same day; its parts have the sizes that the documentation gives.
func TestGenerate(t *testing.T) {
	a, b := generate(2000, 7, true), generate(2000, 7, true)
	if !slices.Equal(a.requests, b.requests) {
		t.Error("the same seed makes another day")
	}
	if c := generate(2000, 8, true); slices.Equal(a.requests, c.requests) {
		t.Error("another seed makes the same day")
	}
	bad, once := map[record.Key]bool{}, map[record.Key]int{}
	for i, q := range a.requests {
		if i > 0 && q.at.Before(a.requests[i-1].at) {
			t.Fatal("the requests are not in order")
		}
		if !strings.HasPrefix(q.path, "/files/") {
			once[record.KeyOf(q.addr)]++
		}
		if q.abusive {
			bad[record.KeyOf(q.addr)] = true
		}
	}
	single := 0
	for _, n := range once {
		if n == 1 {
			single++
		}
	}
	if part := float64(len(bad)) / 2000; part < .06 || part > .08 {
		t.Errorf("%.3f of the clients are abusive", part)
	}
	if part := float64(single) / float64(len(once)); part < .4 || part > .6 {
		t.Errorf("%.3f of the clients come once", part)
	}
}

func TestParseLine(t *testing.T) {
	at := time.Date(2015, 5, 17, 8, 5, 3, 0, time.UTC)
	for line, want := range map[string]request{
		`192.0.2.9 - - [17/May/2015:10:05:03 +0200] "GET /a?b=c HTTP/1.1" 200 203 "-" "curl"`: {method: "GET", path: "/a", status: 200},
		`2001:db8::1 - bob [17/May/2015:08:05:03 +0000] "POST /login HTTP/2.0" 401 -`:         {method: "POST", path: "/login", status: 401},
		`::ffff:192.0.2.9 - - [17/May/2015:08:05:03 +0000] "GET /%2e%2e HTTP/1.0" 404 1`:      {method: "GET", path: "/..", status: 404},
		`example.com - - [17/May/2015:08:05:03 +0000] "GET / HTTP/1.0" 200 1`:                 {},
		`192.0.2.9 - - [17/May/2015:08:05:03 +0000] "\x16\x03" 400 1`:                         {},
		`192.0.2.9 - - [yesterday] "GET / HTTP/1.0" 200 1`:                                    {},
		`192.0.2.9 - - [17/May/2015:08:05:03 +0000] "GET / HTTP/1.0" two 1`:                   {},
		``: {},
	} {
		got, ok := parseLine(line)
		if ok != (want.method != "") || ok && (got.method != want.method || got.path != want.path ||
			got.status != want.status || !got.at.Equal(at)) {
			t.Errorf("%s: %+v, %t", line, got, ok)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add(`192.0.2.9 - - [17/May/2015:10:05:03 +0200] "GET /a?b=c HTTP/1.1" 200 203 "-" "curl"`)
	f.Fuzz(func(t *testing.T, line string) {
		if q, ok := parseLine(line); ok && (!q.addr.IsValid() || q.addr.Is4In6() || q.status < 100 || q.method == "") {
			t.Errorf("%+v", q)
		}
	})
}

// logs are a crowd with one prober, and an attack on other days.
func logs(t *testing.T) (folder, crowd, attack string) {
	t.Helper()
	folder = t.TempDir()
	crowd, attack = filepath.Join(folder, "crowd.log"), filepath.Join(folder, "attack.log")
	for path, lines := range map[string][]string{
		crowd: {
			`192.0.2.1 - - [17/May/2015:10:00:00 +0000] "GET / HTTP/1.1" 200 1`,
			`192.0.2.2 - - [17/May/2015:10:00:01 +0000] "GET / HTTP/1.1" 200 1`,
			`192.0.2.2 - - [17/May/2015:11:00:00 +0000] "GET /wp-login.php HTTP/1.1" 404 1`,
			`nonsense`,
			`192.0.2.1 - - [18/May/2015:10:00:00 +0000] "GET /x HTTP/1.1" 404 1`,
		},
		attack: {
			`198.51.100.1 - - [25/Oct/2015:12:00:00 +0000] "POST /login HTTP/1.1" 200 1`,
			`198.51.100.1 - - [30/Oct/2015:12:00:00 +0000] "POST /login HTTP/1.1" 200 1`,
		},
	} {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder, crowd, attack
}

// A log's probers are those who abuse the site, and the replay does not see them by that. Attackers of another log are
// laid over its days.
func TestReadTrace(t *testing.T) {
	folder, crowd, attack := logs(t)
	alone, without, err := readTrace(crowd, "", nil, nil)
	if err != nil || !slices.Equal(without, []string{"trap", "probe"}) || len(alone.requests) != 4 {
		t.Fatal(alone, without, err)
	}
	for _, q := range alone.requests {
		if q.abusive != (q.addr.String() == "192.0.2.2") {
			t.Errorf("%+v", q)
		}
	}
	both, without, err := readTrace(crowd, attack, []string{"/login"}, []string{"200"})
	if err != nil || without != nil || len(both.requests) != 5 {
		t.Fatal(both, without, err)
	}
	if q := both.requests[3]; !q.abusive || !q.at.Equal(time.Date(2015, 5, 17, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("the attack is %+v", q)
	}
	empty := filepath.Join(folder, "empty.log")
	if err := os.WriteFile(empty, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readTrace(empty, "", nil, nil); err == nil {
		t.Error("a log without a line is taken")
	}
	good := filepath.Join(folder, "good.log")
	line := `192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1 "-" "x"` + "\n"
	if err := os.WriteFile(good, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readTrace(good, "", nil, nil); err == nil || !strings.Contains(err.Error(), "-attackers") {
		t.Errorf("nobody is abusive: %v", err)
	}
}

// Of a log whose times are true to the hour only, the clients come at any time of the hour, and not all at once. Its order
// within a visit, and its hours, stay.
func TestSpread(t *testing.T) {
	var lines []string
	for i := range 240 {
		lines = append(lines, fmt.Sprintf(
			`192.0.2.%d - - [17/May/2015:%02d:05:%02d +0000] "GET /%d HTTP/1.1" 200 1`, i%3, i/24, i*7%60, i))
	}
	file := filepath.Join(t.TempDir(), "sample.log")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	requests, err := readLog(file)
	if err != nil || len(requests) != len(lines) {
		t.Fatal(len(requests), err)
	}
	minutes := map[int]bool{}
	for i, q := range requests {
		minutes[q.at.Minute()] = true
		if i%24 >= 3 && q.at.Sub(requests[i-3].at) != time.Second {
			t.Fatalf("request %d of a visit comes at %s after %s", i, q.at, requests[i-3].at)
		}
		if first := requests[i-i%24+i%3]; first.at.Hour() != i/24 || first.path != fmt.Sprintf("/%d", i-i%24+i%3) {
			t.Fatalf("the visit of request %d begins with %+v", i, first)
		}
	}
	if len(minutes) < 10 {
		t.Errorf("all of them come in %d minutes", len(minutes))
	}
}

// The command shows a table, and writes the numbers and a plot.
func TestCommand(t *testing.T) {
	folder, crowd, attack := logs(t)
	var out bytes.Buffer
	svg, csv := filepath.Join(folder, "a.svg"), filepath.Join(folder, "a.csv")
	err := Main([]string{
		"-log", crowd, "-attackers", attack, "-logins", "/login", "-quota", "1,50", "-svg", svg, "-csv", csv,
	}, &out)
	if err != nil || !strings.Contains(out.String(), "where it matters") {
		t.Errorf("%v, %s", err, out.String())
	}
	drawing, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(drawing)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
	if lines, err := os.ReadFile(csv); err != nil || strings.Count(string(lines), "\n") != 7 {
		t.Errorf("%s, %v", lines, err)
	}
	for _, wrong := range [][]string{{"-quota", "0"}, {"-quota", ""}, {"-log", folder + "/missing"}, {"-nonsense"}} {
		if Main(wrong, io.Discard) == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
