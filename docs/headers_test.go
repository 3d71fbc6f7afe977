package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// headerSets are what an application may be sent, and what a snippet must make of it. Names are as Caddy writes them.
var headerSets = []struct {
	name    string
	headers map[string]string
	want    string
}{
	{"all there is", map[string]string{
		"Score": "88", "Status": "fresh", "Action": "pass", "Categories": "scanner, tor",
		"Reasons":  "abuseipdb;points=28.8;age=3600, tor_exits;points=7.6, verified-bot;points=-60.0",
		"Coverage": "1.00", "Country": "NL", "Asn": "64500", "Nature": "tor",
	}, "score=88 status=fresh action=pass observed=false categories=scanner,tor reasons=abuseipdb:28.8:3600,tor_exits:7.6:0,verified-bot:-60.0:0"},
	{"a score of 0", map[string]string{"Score": "0", "Status": "fresh", "Action": "pass"},
		"score=0 status=fresh action=pass observed=false categories= reasons="},
	{"a score of 100", map[string]string{"Score": "100", "Status": "stale", "Action": "block;mode=observe"},
		"score=100 status=stale action=block observed=true categories= reasons="},
	{"unknown is not 0", map[string]string{"Status": "unknown", "Action": "pass"},
		"score=none status=unknown action=pass observed=false categories= reasons="},
	{"pending", map[string]string{"Status": "pending", "Action": "limit;mode=observe"},
		"score=none status=pending action=limit observed=true categories= reasons="},
	{"past Caddy", map[string]string{}, "score=none status=missing action= observed=false categories= reasons="},
	{"a word", map[string]string{"Score": "high", "Status": "fresh"}, "score=none status=fresh action= observed=false categories= reasons="},
	{"empty", map[string]string{"Score": "", "Status": ""}, "score=none status=missing action= observed=false categories= reasons="},
	{"below 0", map[string]string{"Score": "-1", "Status": "fresh"}, "score=none status=fresh action= observed=false categories= reasons="},
	{"above 100", map[string]string{"Score": "101", "Status": "fresh"}, "score=none status=fresh action= observed=false categories= reasons="},
	{"an exponent", map[string]string{"Score": "1e1", "Status": "fresh"}, "score=none status=fresh action= observed=false categories= reasons="},
	{"an underscore", map[string]string{"Score": "1_0", "Status": "fresh"}, "score=none status=fresh action= observed=false categories= reasons="},
	{"a leading zero", map[string]string{"Score": "007", "Status": "fresh"}, "score=none status=fresh action= observed=false categories= reasons="},
	{"two scores", map[string]string{"Score": "0, 100", "Status": "fresh"}, "score=none status=fresh action= observed=false categories= reasons="},
	{"digits of another script", map[string]string{"Score": "٧", "Status": "fresh"}, "score=none status=fresh action= observed=false categories= reasons="},
	{"a parameter of the future", map[string]string{"Status": "fresh", "Reasons": "ipsum;points=14.4;lists=7;new, feodo; points=20.0"},
		"score=none status=fresh action= observed=false categories= reasons=ipsum:14.4:0,feodo:20.0:0"},
	{"a category of the future", map[string]string{"Status": "fresh", "Categories": "ai_scraper"},
		"score=none status=fresh action= observed=false categories=ai_scraper reasons="},
	{"no list", map[string]string{"Status": "fresh", "Reasons": "abuseipdb;points=28.8,, ipsum", "Categories": "Scan ner"},
		"score=none status=fresh action= observed=false categories= reasons="},
	{"an open quote", map[string]string{"Status": "fresh", "Reasons": `abuseipdb;points="28.8, ipsum;points=1.0`},
		"score=none status=fresh action= observed=false categories= reasons="},
	{"no number", map[string]string{"Status": "fresh", "Reasons": "abuseipdb;points=;age=, ipsum"},
		"score=none status=fresh action= observed=false categories= reasons=abuseipdb:0.0:0,ipsum:0.0:0"},
}

// runner runs the snippet of a language: it reads a set a paragraph, lines of a name, a tab and a value, and writes a line.
type runner struct {
	heading, language string
	program           string // what must be installed
	file              string
	before, after     string // around the snippet
	command           []string
}

var runners = []runner{
	{"Go", "go", "go", "main.go", "", `
func main() {
	h := http.Header{}
	in, _ := io.ReadAll(os.Stdin)
	for _, line := range strings.Split(string(in), "\n") {
		if line != "" {
			name, value, _ := strings.Cut(line, "\t")
			h.Add(name, value)
			continue
		}
		r := Read(h)
		score := "none"
		if r.Score != nil {
			score = strconv.Itoa(*r.Score)
		}
		var reasons []string
		for _, one := range r.Reasons {
			reasons = append(reasons, fmt.Sprintf("%s:%.1f:%d", one.Source, one.Points, one.Age))
		}
		fmt.Printf("score=%s status=%s action=%s observed=%t categories=%s reasons=%s\n", score, r.Status, r.Action, r.Observed,
			strings.Join(r.Categories, ","), strings.Join(reasons, ","))
		h = http.Header{}
	}
}
`, []string{"go", "run", "main.go"}},
	{"Python", "python", "python3", "main.py", "", `
import sys
headers = {}
for line in sys.stdin.buffer.read().decode().split("\n"):
    if line:
        name, _, value = line.partition("\t")
        headers[name] = value
        continue
    r = read(headers)
    print(f"score={'none' if r.score is None else r.score} status={r.status} action={r.action} observed={str(r.observed).lower()} "
          f"categories={','.join(r.categories)} reasons={','.join(f'{x.source}:{x.points:.1f}:{x.age}' for x in r.reasons)}")
    headers = {}
`, []string{"python3", "main.py"}},
	{"Node", "js", "node", "main.cjs", "", `
let headers = {};
for (const line of require("node:fs").readFileSync(0, "utf8").split("\n")) {
  if (line) {
    const [name, value] = line.split("\t");
    headers[name.toLowerCase()] = value;
    continue;
  }
  const r = read(headers);
  const reasons = r.reasons.map((x) => x.source + ":" + x.points.toFixed(1) + ":" + x.age);
  console.log("score=" + (r.score ?? "none") + " status=" + r.status + " action=" + r.action + " observed=" + r.observed +
    " categories=" + r.categories.join(",") + " reasons=" + reasons.join(","));
  headers = {};
}
`, []string{"node", "main.cjs"}},
	{"PHP", "php", "php", "main.php", "", `
$server = [];
foreach (explode("\n", stream_get_contents(STDIN)) as $line) {
    if ($line !== '') {
        [$name, $value] = explode("\t", $line, 2);
        $server['HTTP_' . strtoupper(str_replace('-', '_', $name))] = $value;
        continue;
    }
    $r = Reputation::read($server);
    printf("score=%s status=%s action=%s observed=%s categories=%s reasons=%s\n", $r->score ?? 'none', $r->status, $r->action,
        $r->observed ? 'true' : 'false', implode(',', $r->categories),
        implode(',', array_map(fn ($x) => sprintf('%s:%.1F:%d', $x['source'], $x['points'], $x['age']), $r->reasons)));
    $server = [];
}
`, []string{"php", "main.php"}},
	{"Java", "java", "javac", "Main.java", `
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.TreeMap;
import java.util.stream.Collectors;
`, `
class Main {
    public static void main(String[] args) throws Exception {
        Map<String, String> headers = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
        for (String line : new String(System.in.readAllBytes(), StandardCharsets.UTF_8).split("\n", -1)) {
            if (!line.isEmpty()) {
                String[] pair = line.split("\t", 2);
                headers.put(pair[0], pair[1]);
                continue;
            }
            Reputation r = Reputation.read(headers::get);
            System.out.println("score=" + (r.score().isPresent() ? "" + r.score().getAsInt() : "none") + " status=" + r.status()
                + " action=" + r.action() + " observed=" + r.observed() + " categories=" + String.join(",", r.categories())
                + " reasons=" + r.reasons().stream().map(x -> String.format(Locale.ROOT, "%s:%.1f:%d", x.source(), x.points(), x.age()))
                    .collect(Collectors.joining(",")));
            headers.clear();
        }
    }
}
`, nil},
}

// TestHeaderSnippets runs the snippets of docs/headers.md, in the languages that are installed, on the same headers: all must
// read all of them alike.
func TestHeaderSnippets(t *testing.T) {
	text, err := os.ReadFile("headers.md")
	if err != nil {
		t.Fatal(err)
	}
	var input, want strings.Builder
	for _, set := range headerSets {
		for name, value := range set.headers {
			fmt.Fprintf(&input, "X-Ip-Reputation-%s\t%s\n", name, value)
		}
		input.WriteString("\n")
		fmt.Fprintf(&want, "%s: %s\n", set.name, set.want)
	}
	stdin := strings.TrimSuffix(input.String(), "\n") // some drivers would see an empty set at the end
	for _, r := range runners {
		t.Run(r.heading, func(t *testing.T) {
			t.Parallel()
			snippet := regexp.MustCompile("(?s)\n### " + r.heading + "\n.*?\n```" + r.language + "\n(.*?)\n```\n").FindStringSubmatch(string(text))
			if snippet == nil {
				t.Fatalf("headers.md has no snippet under ### %s", r.heading)
			}
			if _, err := exec.LookPath(r.program); err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			code := snippet[1]
			if r.language == "go" {
				code = strings.Replace(code, "package reputation\n\nimport (", "package main\n\nimport (\n\t\"fmt\"\n\t\"io\"\n\t\"os\"", 1)
			}
			if err := os.WriteFile(filepath.Join(dir, r.file), []byte(r.before+code+"\n"+r.after), 0o644); err != nil {
				t.Fatal(err)
			}
			command := r.command
			if r.language == "java" { // the record comes first in the file, which `java Main.java` would take for the program
				compile := exec.Command("javac", "-encoding", "UTF-8", r.file)
				compile.Dir = dir
				if out, err := compile.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				command = []string{"java", "-cp", dir, "Main"}
			}
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOFLAGS=", "GO111MODULE=off")
			cmd.Stdin = strings.NewReader(stdin)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			var got strings.Builder
			for i, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
				if i < len(headerSets) {
					line = headerSets[i].name + ": " + strings.TrimSuffix(line, "\r")
				}
				got.WriteString(line + "\n")
			}
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
