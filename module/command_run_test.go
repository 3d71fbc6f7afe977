package module_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	// plugged in
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/aws"
)

// object is a JSON object.
type object = map[string]any

// runCommand runs a command in this process and returns what it prints.
func runCommand(args ...string) (stdout, stderr string, err error) {
	registered := caddycmd.Commands()["ip-reputation"]
	command := &cobra.Command{Use: registered.Name + " " + registered.Usage, Short: registered.Short, Long: registered.Long}
	registered.CobraFunc(command)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(command)
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

// awsStore is a stand-in for AWS Secrets Manager, whose secrets all have the value that is put into it, and what a
// configuration says to find it there.
func awsStore(t *testing.T) (put func(string), store object) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "the-account-s-own-secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none",
	} {
		t.Setenv(name, value)
	}
	var stored atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(object{"Name": "prod/secret", "SecretString": fmt.Sprintf(`{"key":%q}`, stored.Load())})
	}))
	t.Cleanup(server.Close)
	return func(value string) { stored.Store(value) }, object{
		"store": "aws_secretsmanager", "name": "prod/secret", "field": "key", "region": "eu-central-1", "endpoint": server.URL,
	}
}
