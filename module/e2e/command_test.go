package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// command makes the command as Caddy does.
func command() *cobra.Command {
	registered := caddycmd.Commands()["ip-reputation"]
	command := &cobra.Command{Use: registered.Name + " " + registered.Usage, Short: registered.Short, Long: registered.Long}
	registered.CobraFunc(command)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(command)
	return root
}

// runCommand runs a command in this process and returns what it prints.
func runCommand(args ...string) (stdout, stderr string, err error) {
	root := command()
	var out, problems bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&problems)
	root.SetArgs(append([]string{"ip-reputation"}, args...))
	err = root.Execute()
	return out.String(), problems.String(), err
}

// run runs a command against the running Caddy.
func (r *running) run(tb testing.TB, args ...string) string {
	tb.Helper()
	out, problems, err := runCommand(append(args, "--address", r.adminAddr)...)
	if err != nil || problems != "" {
		tb.Fatalf("%q: %v\n%s", args, err, problems)
	}
	return out
}

// timeless replaces what depends on the time.
func timeless(text string) string {
	for _, r := range []struct{ pattern, with string }{
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`, "TIME"},
		{`\b(\d+d)?(\d+h)?(\d+m)?(\d+s)?( ago| left\))`, "SPAN$5"},
		{`(good for|asked) (\d+[dhms])+`, "$1 SPAN"},
		{` +\n`, "\n"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return strings.TrimSpace(text)
}

// TestCommands is a session of an operator: each step sees what the ones before have done.
func TestCommands(t *testing.T) {
	r, s := judged(t)
	for _, step := range []struct {
		args string
		want string
	}{
		{"check 203.0.113.10", `
203.0.113.10  score 14  partial  coverage 0.50

   -20.000  where every address starts
   +12.000  mine: scanner
    -8.000  points = 13.68 % likely to be abusive

lists      mine (feed, from values)
providers  abuseipdb: never answered
next       abuseipdb was not asked yet: it is at the first request from the address, or with --fresh (?fresh)`},
		{"check ::ffff:203.0.113.10 --fresh", `
203.0.113.10  score 99  fresh  coverage 1.00

   -20.000  where every address starts
   +28.800  abuseipdb: abuse
   +12.000  mine: scanner
   +20.800  points = 99.18 % likely to be abusive

facts      NL, hosting
lists      mine (feed, from values)
providers  abuseipdb: severity 1.00, confidence 0.90, abuse, answered SPAN ago, good for SPAN`},
		{"ban 203.0.113.99 --ttl 1h --reason because", `banned: 203.0.113.99/32 until TIME (SPAN left): because`},
		{"ban 203.0.113.200", `
banned: 203.0.113.200/32 forever
note: exempt beats a ban, so addresses of it are still let through by the list exempt`},
		{"check 203.0.113.99", `
203.0.113.99  score 100  fresh  coverage 1.00

   -20.000  where every address starts
   +60.000  ban
   +40.000  points = 99.99 % likely to be abusive

lists      none
overrides  ban of 203.0.113.99/32 until TIME (SPAN left): because
providers  abuseipdb: never answered
next       enforcing sites block it unless a rule says otherwise; no provider is asked while it is banned
           ` + "`caddy ip-reputation unban 203.0.113.99` ends the ban"},
		{"exempt 203.0.113.98/31", `exempt: 203.0.113.98/31 forever`},
		{"check 203.0.113.99", `
203.0.113.99  no score  exempt  coverage 0.00

lists      none
overrides  exemption of 203.0.113.98/31 forever
           ban of 203.0.113.99/32 until TIME (SPAN left): because
providers  abuseipdb: never answered
next       not judged, and nobody is asked: the address is exempt`},
		{"bans", `
exemption  203.0.113.98/31   forever
ban        203.0.113.99/32   until TIME (SPAN left)  because
ban        203.0.113.200/32  forever`},
		{"exempt 203.0.113.98/31 --remove", `the exemption of 203.0.113.98/31 has ended`},
		{"unban 203.0.113.99", `the ban of 203.0.113.99/32 has ended`},
		{"unban 203.0.113.200", `the ban of 203.0.113.200/32 has ended`},
		{"bans", `nothing is banned or exempt at run time`},
		{"forget 203.0.113.10", `forgot what providers said of 203.0.113.10/32`},
		{"forget 203.0.113.10", `nothing was remembered of 203.0.113.10/32`},
		{"refresh mine", `mine is in force with 1 entry`},
		{"check 2001:db8:1:2::5", `
2001:db8:1:2::5  score 1  partial  coverage 0.50

   -20.000  where every address starts
   -20.000  points = 0.99 % likely to be abusive

remembered as  2001:db8:1:2::/64
lists          none
providers      abuseipdb: never answered
next           abuseipdb was not asked yet: it is at the first request from the address, or with --fresh (?fresh)`},
	} {
		got := timeless(r.run(t, strings.Fields(step.args)...))
		if diff := cmp.Diff(strings.TrimSpace(step.want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.args, diff)
		}
	}
	if s.asked() != 1 {
		t.Errorf("the session asked %d times, want once, for --fresh", s.asked())
	}
}

func TestStatusCommand(t *testing.T) {
	r, s := judged(t)
	s.behave(throttle)
	r.run(t, "check", "203.0.113.10", "--fresh")
	got := timeless(r.run(t, "status"))
	for _, want := range []string{
		"data folder  " + r.dataDir,
		"sites        1 of 1 have ip_reputation\n",
		"providers    abuseipdb: not asked, 999 of 1000/day left until TIME\n",
		"lists        exempt: exempt, 1 entry from values\n",
		"             mine: feed, 1 entry from values\n",
		"WARNINGS     provider abuseipdb is not asked: it asked to be left alone until TIME",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the status lacks %q:\n%s", want, got)
		}
	}
}

// TestJSON proves that --json prints what the admin API answers.
func TestJSON(t *testing.T) {
	r, _ := judged(t)
	same := func(got, want string) {
		t.Helper()
		g, w := into[any](t, reply{body: got}), into[any](t, reply{body: want})
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("(-admin API +command):\n%s", diff)
		}
	}
	banned := r.run(t, "ban", "203.0.113.99", "--reason", "a \"reason\" – ok", "--json")
	type ban struct{ Prefix, Kind, Reason string }
	if diff := cmp.Diff(ban{"203.0.113.99/32", "ban", "a \"reason\" – ok"}, into[ban](t, reply{body: banned})); diff != "" {
		t.Errorf("ban (-want +got):\n%s", diff)
	}
	for _, path := range []string{"check/203.0.113.10", "status"} {
		same(r.run(t, append(strings.Split(path, "/"), "--json")...), r.ask(t, http.MethodGet, path, "").body)
	}
	same(r.run(t, "bans", "--json"), `{"bans":`+r.ask(t, http.MethodGet, "bans", "").body+`,"exemptions":[]}`)
}

func TestCommandMistakes(t *testing.T) {
	r, _ := judged(t)
	for _, tc := range []struct{ args, says string }{
		{"check", "check takes exactly one address, such as: caddy ip-reputation check 203.0.113.5"},
		{"check 203.0.113.5 203.0.113.6", "check takes exactly one address"},
		{"check example.com", `"example.com" is not an IP address: write one such as`},
		{"ban 203.0.113.5/33", `"203.0.113.5/33" is not a CIDR range`},
		{"ban 203.0.113.5 --ttl soon", `ttl "soon" is not a duration`},
		{"ban 203.0.113.5 --ttl=", "the ttl is empty"},
		{"ban 192.0.0.0/4", "too broad"},
		{"unban 203.0.113.5", "there is no ban of 203.0.113.5/32"},
		{"exempt 203.0.113.5 --remove --ttl 1h", "without --ttl and --reason"},
		{"exempt 203.0.113.5 --remove", "there is no exemption of 203.0.113.5/32"},
		{"refresh nope", "no such list: there are exempt, deny, mine"},
		{"refresh a/b", "nothing is at"},
		{"keys abuseipdb", `keys takes no argument: leave out "abuseipdb"`},
		{"bans all", `bans takes no argument: leave out "all"`},
		{"chekc 203.0.113.5", `unknown command "chekc"`},
		{"status --config /nowhere/Caddyfile --address=", "finding the address of the admin API"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			_, problems, err := runCommand(append([]string{"--address", r.adminAddr}, strings.Fields(tc.args)...)...)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error is %v, want %q", err, tc.says)
			}
			if lines := strings.Count(strings.TrimSpace(problems), "\n") + 1; lines != 1 {
				t.Errorf("stderr has %d lines:\n%s", lines, problems)
			}
		})
	}
	if list := r.ask(t, http.MethodGet, "bans", ""); strings.TrimSpace(list.body) != "[]" {
		t.Errorf("after nothing but mistakes, the bans are %s", list.body)
	}
}

// TestExitCodes runs the commands as a shell does.
func TestExitCodes(t *testing.T) {
	r, _ := judged(t)
	configFile := filepath.Join(r.dataDir, "caddy.json")
	if err := os.WriteFile(configFile, r.json(t), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := testenv.FreeAddr(t)
	for _, tc := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"ok", []string{"check", "203.0.113.1", "--address", r.adminAddr}, 0, "203.0.113.1  score 14", ""},
		{"the address from a file", []string{"check", "203.0.113.1", "--config", configFile}, 0, "203.0.113.1  score 14", ""},
		{"a mistake", []string{"check", "203.0.113.256", "--address", r.adminAddr}, 1, "", `Error: "203.0.113.256" is not an IP address`},
		{"nobody there to ask for keys", []string{"keys", "--address", nobody}, 1, "", "Error: is Caddy running?"},
		{"nobody there", []string{"status", "--address", nobody}, 1, "",
			"Error: is Caddy running? its admin API is expected at " + nobody + " and does not answer: use --address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := r.caddyCommand(t, append([]string{"ip-reputation"}, tc.args...)...)
			var out, problems bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &problems
			code := 0
			if err := cmd.Run(); err != nil {
				var exit *exec.ExitError
				if !errors.As(err, &exit) {
					t.Fatal(err)
				}
				code = exit.ExitCode()
			}
			if code != tc.code || !strings.Contains(out.String(), tc.stdout) || !strings.Contains(problems.String(), tc.stderr) {
				t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", code, tc.code, out.String(), problems.String())
			}
		})
	}
}

// TestForeignText proves that nothing which an admin API answers can move the cursor of a terminal or forge a line.
func TestForeignText(t *testing.T) {
	const evil = "\x1b[2J\u009b31m\u202e\nbanned: everything\r\t\x00"
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	status := http.StatusOK
	var body string
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(strings.ReplaceAll(body, "EVIL", string(quoted))))
	}))
	t.Cleanup(foreign.Close)
	address := strings.TrimPrefix(foreign.URL, "http://")
	safe := func(args []string, text string, lines int) {
		t.Helper()
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q prints %q", args, text[i:])
		}
		if n := strings.Count(text, "\n"); n != lines {
			t.Errorf("%q prints %d lines, want %d:\n%s", args, n, lines, text)
		}
	}
	for _, tc := range []struct {
		args  string
		body  string
		lines int
	}{
		{"bans", `[{"prefix":"203.0.113.5/32","kind":"ban","reason":EVIL}]`, 2},
		{"ban 203.0.113.5", `{"prefix":"203.0.113.5/32","kind":"ban","reason":EVIL,"note":EVIL,"warning":EVIL}`, 3},
		{"check 203.0.113.5", `{"address":"203.0.113.5","subject":"203.0.113.5/32","status":EVIL,"facts":{"as_name":EVIL,"asn":1},
			"providers":[{"name":EVIL}],"lists":[{"name":EVIL}],"next":[EVIL]}`, 6},
		{"status", `{"version":{"plugin":EVIL},"data_folder":EVIL,"warnings":[EVIL]}`, 6},
		{"keys", `[{"provider":EVIL,"fingerprint":EVIL,"source":EVIL,"state":EVIL,"error":EVIL}]`, 3},
		{"check 203.0.113.5 --json", `{"address":"203.0.113.5","subject":"203.0.113.5/32","status":EVIL,"next":["😀"]}`, 1},
	} {
		body = tc.body
		args := append(strings.Fields(tc.args), "--address", address)
		out, problems, err := runCommand(args...)
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		safe(args, out+problems, tc.lines)
		if strings.HasSuffix(tc.args, "--json") {
			var v struct {
				Status string
				Next   []string
			}
			if err := json.Unmarshal([]byte(out), &v); err != nil || v.Status != evil || v.Next[0] != "😀" {
				t.Errorf("the JSON does not hold what was answered: %v, %q", err, out)
			}
		}
	}
	for _, tc := range []struct {
		status int
		body   string
		says   string
	}{
		{http.StatusBadRequest, `{"error":EVIL}`, "banned: everything"},
		{http.StatusNotFound, "404 page not found\x1b[2J", "is not the admin API of a Caddy with ip_reputation (HTTP 404)"},
		{http.StatusOK, "hello\x1b[2J", "in a way that this program does not know"},
	} {
		status, body = tc.status, tc.body
		args := []string{"status", "--address", address}
		out, problems, err := runCommand(args...)
		if err == nil || !strings.Contains(err.Error(), tc.says) || out != "" {
			t.Errorf("%d %q: printed %q, error %v, want %q", tc.status, tc.body, out, err, tc.says)
		}
		safe(args, problems, 1)
	}
}

// TestHelp proves that every command says what it does, at length, with an example that it accepts.
func TestHelp(t *testing.T) {
	top, _, err := command().Find([]string{"ip-reputation"})
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := runCommand()
	if err != nil || !strings.Contains(out, "Available Commands") {
		t.Errorf("without a command: %v\n%s", err, out)
	}
	names := map[string]bool{}
	for _, cmd := range top.Commands() {
		names[cmd.Name()] = true
		if cmd.Short == "" || len(cmd.Long) < 50 || cmd.Args == nil || cmd.RunE == nil {
			t.Errorf("%s is not described, or takes any arguments", cmd.Name())
		}
		for line := range strings.Lines(cmd.Example) {
			words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "$ caddy ip-reputation "))
			found, rest, err := top.Find(words)
			if err != nil || found != cmd {
				t.Errorf("the example of %s runs %v: %v", cmd.Name(), found, err)
				continue
			}
			if i := slices.IndexFunc(rest, func(word string) bool { return strings.HasPrefix(word, "--") }); i >= 0 {
				rest = rest[:i] // the flags are tried in TestCommands
			}
			if err := cmd.ValidateArgs(rest); err != nil {
				t.Errorf("the example of %s: %v", cmd.Name(), err)
			}
		}
	}
	for _, want := range []string{"check", "ban", "unban", "exempt", "forget", "status", "bans", "keys", "refresh", "history", "migrate"} {
		if !names[want] {
			t.Errorf("there is no command %s", want)
		}
	}
}
