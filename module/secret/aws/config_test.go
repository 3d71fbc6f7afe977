package aws

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestCaddyfile(t *testing.T) {
	const options = `{
		field api_key
		region eu-central-1
		endpoint http://127.0.0.1:4566
		profile production
	`
	for _, tc := range []struct {
		name, input, want string // the JSON, or what the error says
	}{
		{"secret", `aws_secretsmanager prod/abuseipdb`, `{"name":"prod/abuseipdb"}`},
		{"ARN", `aws_secretsmanager arn:aws:secretsmanager:eu-central-1:1:secret:a-b`,
			`{"name":"arn:aws:secretsmanager:eu-central-1:1:secret:a-b"}`},
		{"empty block", "aws_secretsmanager prod/abuseipdb {\n}", `{"name":"prod/abuseipdb"}`},
		{"all of a secret", "aws_secretsmanager prod/abuseipdb " + options + "version_stage AWSPREVIOUS\n}",
			`{"name":"prod/abuseipdb","field":"api_key","version_stage":"AWSPREVIOUS","region":"eu-central-1",` +
				`"endpoint":"http://127.0.0.1:4566","profile":"production"}`},
		{"parameter", `aws_ssm /prod/abuseipdb`, `{"path":"/prod/abuseipdb"}`},
		{"all of a parameter", "aws_ssm /prod/abuseipdb:3 " + options + "}",
			`{"path":"/prod/abuseipdb:3","field":"api_key","region":"eu-central-1","endpoint":"http://127.0.0.1:4566","profile":"production"}`},
		{"placeholder", `aws_ssm /{env.STAGE}/abuseipdb`, `{"path":"/{env.STAGE}/abuseipdb"}`},

		{"no name", `aws_secretsmanager`, "aws_secretsmanager needs the name or ARN of the secret, such as prod/abuseipdb, at Testfile:1"},
		{"empty name", `aws_secretsmanager ""`, "needs the name or ARN"},
		{"a block at once", "aws_ssm {\n}", "aws_ssm needs the path or ARN of the secret, such as /prod/abuseipdb"},
		{"two names", `aws_ssm a hunter2`, "aws_ssm takes one path or ARN, such as /prod/abuseipdb: put options into a block"},
		{"unknown", "aws_ssm a {\n version_stage x\n}",
			"unknown option 'version_stage' of aws_ssm: use one of field, region, endpoint, profile, at Testfile:2"},
		{"unknown of a secret", "aws_secretsmanager a {\n key x\n}",
			"unknown option 'key' of aws_secretsmanager: use one of field, version_stage, region, endpoint, profile, at Testfile:2"},
		{"twice", "aws_ssm a {\n field x\n field y\n}", "field is set twice for aws_ssm: remove one, at Testfile:3"},
		{"no value", "aws_ssm a {\n region\n}", "region of aws_ssm has 0 values: write it like `region eu-central-1`, at Testfile:2"},
		{"two values", "aws_ssm a {\n region hunter2 b\n}", "region of aws_ssm has 2 values: write it like `region eu-central-1`"},
		{"empty value", "aws_ssm a {\n field \"\"\n}", "field of aws_ssm is empty"},
		{"nested block", "aws_ssm a {\n field x {\n y\n }\n}", "unknown option '{'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := caddyfile.NewTestDispenser(tc.input)
			d.Next()
			got, err := caddyfile.UnmarshalModule(d, "ip_reputation.secrets."+d.Val())
			if err != nil {
				harmless(t, err.Error())
				if !strings.Contains(err.Error(), tc.want) || tc.want[0] == '{' {
					t.Errorf("the error is %v, want %q", err, tc.want)
				}
				return
			}
			text, err := json.Marshal(got)
			if err != nil || string(text) != tc.want {
				t.Errorf("got %s (%v), want %s", text, err, tc.want)
			}
		})
	}
}

func TestProvision(t *testing.T) {
	t.Setenv("AWS_TEST_URL", "https://user:hunter2@example.org")
	t.Setenv("AWS_TEST_EMPTY", "")
	for _, tc := range []struct {
		name, store string
		config      object
		want        string // what the error says; without one, it is accepted
	}{
		{"secret", "aws_secretsmanager", object{"name": "a"}, ""},
		{"parameter", "aws_ssm", object{"path": "/a.b/c-d_e:current"}, ""},
		{"VPC endpoint", "aws_ssm", object{"path": "a", "endpoint": exampleEndpoint}, ""},
		{"plain endpoint", "aws_ssm", object{"path": "a", "endpoint": "http://192.0.2.1"}, ""},
		{"region of the ARN", "aws_ssm", object{"path": "arn:aws:ssm:eu-west-1:1:parameter/a", "region": "eu-west-1"}, ""},

		{"no name", "aws_secretsmanager", object{}, "aws_secretsmanager: no secret is named: say which one to fetch"},
		{"no path", "aws_ssm", object{}, "aws_ssm: no secret is named"},
		{"blank", "aws_secretsmanager", object{"name": "a b"}, `the name "a b" has characters that no name has`},
		{"empty placeholder", "aws_secretsmanager", object{"name": "{env.AWS_TEST_EMPTY}"}, "resolving the name: "},
		{"unknown placeholder", "aws_secretsmanager", object{"name": "a", "field": "{x}"}, "resolving the field: unrecognized placeholder {x}"},
		{"half an ARN", "aws_secretsmanager", object{"name": "arn:aws"}, "is not the ARN of a secret here: use one like arn:aws:secretsmanager:eu-central-1:"},
		{"another ARN", "aws_secretsmanager", object{"name": "arn:aws:ssm:eu-central-1:1:parameter/a"}, "use one like arn:aws:secretsmanager:"},
		{"two regions", "aws_ssm", object{"path": "arn:aws:ssm:eu-west-1:1:parameter/a", "region": "eu-central-1"},
			"the secret is in region eu-west-1, as its ARN says, but region is eu-central-1: remove region"},
		{"no region", "aws_ssm", object{"path": "a", "region": "eu_central/1"}, `region "eu_central/1" is none: use one like eu-central-1`},
		{"no URL", "aws_ssm", object{"path": "a", "endpoint": "http://a b"}, "reading the endpoint: it is no URL: use one like https://"},
		{"no scheme", "aws_ssm", object{"path": "a", "endpoint": "example.org"}, "its scheme is neither https nor http"},
		{"no host", "aws_ssm", object{"path": "a", "endpoint": "https:///x"}, "it names no host"},
		{"password", "aws_ssm", object{"path": "a", "endpoint": "{env.AWS_TEST_URL}"}, "it holds a user name"},
		{"query", "aws_ssm", object{"path": "a", "endpoint": "https://example.org?x=hunter2"}, "it holds a query"},
		{"unknown member", "aws_ssm", object{"path": "a", "version_stage": "x"}, "unknown field"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := load(t, tc.store, tc.config)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("the error is %v, want %q", err, tc.want)
			case err != nil && !strings.Contains(err.Error(), "unknown field"):
				harmless(t, err.Error())
			}
		})
	}
}

// TestNothingResolvedGoesBack: what Caddy shows as its configuration is what the operator wrote.
func TestNothingResolvedGoesBack(t *testing.T) {
	t.Setenv("AWS_TEST_STAGE", "prod")
	for store, config := range map[string]object{
		"aws_secretsmanager": {"name": "{env.AWS_TEST_STAGE}/a", "profile": "{env.AWS_TEST_STAGE}"},
		"aws_ssm":            {"path": "{env.AWS_TEST_STAGE}/a", "field": "{env.AWS_TEST_STAGE}"},
	} {
		got, err := load(t, store, config)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(got)
		if err != nil || strings.Contains(string(text), "prod") {
			t.Errorf("%s (%v)", text, err)
		}
	}
}

func TestModules(t *testing.T) {
	for _, id := range []string{"aws_secretsmanager", "aws_ssm"} {
		info, err := caddy.GetModule("ip_reputation.secrets." + id)
		if err != nil || info.New() == info.New() {
			t.Errorf("%s: %v", id, err)
		}
	}
}
