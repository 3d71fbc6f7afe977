package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// object is a JSON object.
type object map[string]any

// run runs a command in this process and returns what it prints.
func (c *console) run(args ...string) (stdout, stderr string, err error) {
	parent := &cobra.Command{Use: "ip-reputation"}
	c.addTo(parent)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(parent)
	var out, problems bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&problems)
	root.SetArgs(append([]string{"ip-reputation"}, args...))
	err = root.Execute()
	return out.String(), problems.String(), err
}

// timeless replaces the times in a text, and drops spaces at the ends of lines.
func timeless(text string) string {
	return trimLines(regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`).ReplaceAllString(text, "TIME"))
}

func trimLines(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// wantSecrecy fails the test for texts that hold a secret of these tests.
func wantSecrecy(tb testing.TB, shown map[string]string) {
	tb.Helper()
	for where, text := range shown {
		for _, mark := range []string{"password-of-", "the-account-s-own-secret"} {
			if strings.Contains(text, mark) {
				tb.Errorf("%s shows a secret: %q", where, text)
			}
		}
	}
}

// awsStore is a store of secrets that holds the value, and its configuration.
func awsStore(t *testing.T, value string) object {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "the-account-s-own-secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none",
	} {
		t.Setenv(name, value)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(object{"Name": "prod/secret", "SecretString": fmt.Sprintf(`{"key":%q}`, value)})
	}))
	t.Cleanup(server.Close)
	return object{
		"store": "aws_secretsmanager", "name": "prod/secret", "field": "key", "region": "eu-central-1", "endpoint": server.URL,
	}
}

func TestSitesLine(t *testing.T) {
	for want, sites := range map[string]health.Sites{
		"2 of 2 have ip_reputation":                                             {All: 2, Protected: 2},
		"3 of 5 have ip_reputation, not a.example b.example":                    {All: 5, Protected: 3, Without: []string{"a.example", "b.example"}},
		"0 of 40 have ip_reputation, not a.example and 39 more":                 {All: 40, Without: []string{"a.example"}},
		"1 of 1 have ip_reputation; redirects to https come before it":          {All: 1, Protected: 1, Redirects: true},
		"0 of 1 have ip_reputation, not :80; redirects to https come before it": {All: 1, Without: []string{":80"}, Redirects: true},
	} {
		if got := sitesLine(&sites); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
