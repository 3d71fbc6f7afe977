package vault

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestCaddyfile(t *testing.T) {
	for _, tc := range []struct {
		name, input, want string // the JSON, or what the error says
	}{
		{"token", "vault secret/abuseipdb {\n token {file./run/secrets/vault}\n}",
			`{"path":"secret/abuseipdb","token":"{file./run/secrets/vault}"}`},
		{"approle", "vault secret/abuseipdb {\n approle caddy {env.SECRET_ID}\n}",
			`{"path":"secret/abuseipdb","approle":{"role_id":"caddy","secret_id":"{env.SECRET_ID}"}}`},
		{"kubernetes", "vault secret/abuseipdb {\n kubernetes caddy\n}",
			`{"path":"secret/abuseipdb","kubernetes":{"role":"caddy"}}`},
		{"all", `vault team/kv/web/abuseipdb {
			jwt /run/jwt
			address https://vault.example.org:8200
			mount team/kv
			field api_key
			version 3
			namespace team
			ca /etc/ca.pem
			kubernetes caddy
			auth_mount k8s
		}`, `{"path":"team/kv/web/abuseipdb","mount":"team/kv","field":"api_key","version":3,"address":"https://vault.example.org:8200",` +
			`"namespace":"team","ca":"/etc/ca.pem","kubernetes":{"role":"caddy","jwt":"/run/jwt"},"auth_mount":"k8s"}`},

		{"no path", `vault`, "vault needs the path of the secret, such as secret/abuseipdb, at Testfile:1"},
		{"two paths", `vault a/b hunter2`, "vault takes one path, such as secret/abuseipdb"},
		{"no login", `vault a/b`, "vault: it is not said how to log in: give one of token, approle and kubernetes, at Testfile:1"},
		{"two logins", "vault a/b {\n token {env.A}\n kubernetes caddy\n}", "there are several ways to log in: give one of"},
		{"unknown", "vault a/b {\n password hunter2\n}", "unknown option 'password' of vault: use one of address, mount, field, version, " +
			"namespace, ca, token, approle, kubernetes, jwt, auth_mount, at Testfile:2"},
		{"twice", "vault a/b {\n token {env.A}\n token {env.B}\n}", "token is set twice for vault: remove one, at Testfile:3"},
		{"no token", "vault a/b {\n token\n}", "token of vault has 0 values: write it like `token {file./run/secrets/vault}`"},
		{"half a role", "vault a/b {\n approle hunter2\n}", "approle of vault has 1 values: write it like `approle {env.VAULT_ROLE_ID} {file./run/secrets/vault_secret_id}`"},
		{"empty secret ID", "vault a/b {\n approle hunter2 \"\"\n}", "approle of vault is empty"},
		{"version", "vault a/b {\n token {env.A}\n version newest\n}", "version of vault is no number above 0: leave it out for the newest, at Testfile:3"},
		{"version 0", "vault a/b {\n token {env.A}\n version 0\n}", "version of vault is no number above 0"},
		{"jwt", "vault a/b {\n token {env.A}\n jwt /x\n}", "jwt is of no use without kubernetes: remove it"},
		{"auth_mount", "vault a/b {\n token {env.A}\n auth_mount x\n}", "auth_mount is of no use with a token: remove it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := caddyfile.NewTestDispenser(tc.input)
			d.Next()
			got, err := caddyfile.UnmarshalModule(d, "ip_reputation.secrets.vault")
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
	t.Setenv("VAULT_TEST_URL", "https://user:hunter2@example.org")
	garbage, _ := write(t, "hunter2")
	pod := object{"role": "caddy"}
	for _, tc := range []struct {
		name   string
		config object
		want   string // what the error says; without one, it is accepted
	}{
		{"defaults", object{"kubernetes": pod}, ""},
		{"plain address", object{"address": "http://192.0.2.1:8200"}, ""},
		{"literal token", object{"token": "hunter2"}, ""},
		{"deep path", object{"path": "secret/a/b c/d"}, ""},

		{"no path", object{"path": ""}, `vault: the path "" does not name a mount, here "", and a secret in it: write it like secret/abuseipdb`},
		{"mount only", object{"path": "secret"}, `the path "secret" does not name a mount`},
		{"mount and a slash", object{"path": "secret/"}, `the path "secret/" does not`},
		{"slash first", object{"path": "/secret/a"}, `the path "/secret/a" does not`},
		{"upwards", object{"path": "secret/../sys/a"}, `the path "secret/../sys/a" does not`},
		{"line break", object{"path": "secret/a\nb"}, `the path "secret/a\nb" does not`},
		{"another mount", object{"path": "secret/a", "mount": "kv"}, `the path "secret/a" does not name a mount, here "kv"`},
		{"no login", object{"token": ""}, "vault: it is not said how to log in"},
		{"half an approle", object{"token": "", "approle": object{"role_id": "x"}}, "approle needs a role ID and a secret ID"},
		{"no role", object{"token": "", "kubernetes": object{}}, "kubernetes needs a role: write `kubernetes <role>`"},
		{"auth mount", object{"token": "", "kubernetes": pod, "auth_mount": "/auth/k8s/"}, `auth_mount "/auth/k8s/" is none`},
		{"version", object{"version": -1}, "version -1 is none"},
		{"no URL", object{"address": "http://a b"}, "reading the address: it is no URL: use one like https://vault.example.org:8200"},
		{"no scheme", object{"address": "vault.example.org:8200"}, "its scheme is neither https nor http"},
		{"socket", object{"address": "unix:///run/vault.sock"}, "its scheme is neither https nor http"},
		{"password", object{"address": "{env.VAULT_TEST_URL}"}, "it holds a user name"},
		{"no CA", object{"ca": "/does/not/exist"}, "reading the ca file /does/not/exist: "},
		{"garbage CA", object{"ca": garbage}, "reading the ca file " + garbage},
		{"empty placeholder", object{"field": "{env.VAULT_TEST_ABSENT}"}, "resolving the field: "},
		{"unknown member", object{"role_id": "x"}, "unknown field"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := object{"path": "secret/abuseipdb", "token": "{env.VAULT_TOKEN}"}
			if tc.name == "defaults" {
				delete(config, "token")
			}
			for key, value := range tc.config {
				config[key] = value
			}
			v, err := load(t, config)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("the error is %v, want %q", err, tc.want)
			case err != nil && !strings.Contains(err.Error(), "unknown field"):
				harmless(t, err.Error())
			case err == nil:
				text, err := json.Marshal(v)
				if want, _ := json.Marshal(config); err != nil || !sameJSON(text, want) {
					t.Errorf("%s (%v) came of %s", text, err, want)
				}
			}
		})
	}
}

func sameJSON(a, b []byte) bool {
	var x, y object
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	a, _ = json.Marshal(x)
	b, _ = json.Marshal(y)
	return string(a) == string(b)
}

// TestEnvironment: the variables of Vault's tools hold for what is not set, but nobody is let in by one that is not named.
func TestEnvironment(t *testing.T) {
	s := newStandIn(t)
	t.Setenv("VAULT_ADDR", s.URL)
	t.Setenv("VAULT_NAMESPACE", "team")
	t.Setenv("VAULT_TOKEN", "hunter2")
	t.Setenv("VAULT_WRAP_TTL", "60s")
	t.Setenv("VAULT_MAX_RETRIES", "5")
	v := open(t, s, byAppRole(t), object{"address": ""})
	wantValue(t, v, value)
	if h := s.last.Header; h.Get("X-Vault-Namespace") != "team" || h.Get("X-Vault-Wrap-Ttl") != "" {
		t.Error(h)
	}
	s.wantCalls(t, logsIn, reads)

	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_AGENT_ADDR", "http://127.0.0.1:1")
	wantValue(t, open(t, s, byAppRole(t), object{"namespace": "web"}), value)
	if got := s.last.Header.Get("X-Vault-Namespace"); got != "web" {
		t.Error(got)
	}
	t.Setenv("VAULT_AGENT_ADDR", s.URL)
	wantValue(t, open(t, s, byAppRole(t), object{"address": ""}), value)

	t.Setenv("VAULT_CACERT", filepath.Join(t.TempDir(), "hunter2"))
	if _, err := load(t, object{"path": "a/b", "token": "{env.VAULT_TOKEN}"}); err == nil || !strings.Contains(err.Error(), "a VAULT_* variable, or a file that it names") {
		t.Error(err)
	}
}
