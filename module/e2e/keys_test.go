package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	// plugged in
)

// keyed lets the stand-in accept one key, which can be changed.
func keyed(s *standIn) (accept func(string), refused func() int64) {
	var accepted atomic.Value
	var n atomic.Int64
	accepted.Store(keyText)
	s.behave(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Key") != accepted.Load() {
			n.Add(1)
			refuse(w, r)
			return
		}
		r.Header.Set("Key", keyText)
		s.answer(w, r)
	})
	return func(key string) { accepted.Store(key) }, n.Load
}

// fingerprintOf is what docs/operations.md says of how keys are named.
func fingerprintOf(key string) string {
	sum := sha256.Sum256([]byte("caddy-ip-reputation secret fingerprint v1\x00" + key))
	return hex.EncodeToString(sum[:4])
}

// TestAKeyRotates proves that a key that is replaced in its file is used without a reload, that with a second key no call is
// lost in between, and that a service which refuses all keys is not asked again and again.
func TestAKeyRotates(t *testing.T) {
	s := startStandIn(t)
	accept, refused := keyed(s)
	c := newConfig(t)
	c.ask(s)
	first, second := filepath.Join(c.dataDir, "first"), filepath.Join(c.dataDir, "second")
	write := func(file, key string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first, "key-of-monday")
	write(second, "key-of-tuesday")
	accept("key-of-monday")
	c.app["providers"].([]any)[0].(object)["keys"] = []any{
		object{"value": "{file." + first + "}", "refresh": "1s"}, object{"value": "{file." + second + "}", "refresh": "1s"},
	}
	c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.status}"}}
	r := startCaddy(t, c)
	next := 0
	visit := func() string {
		next++
		return r.visit(t, fmt.Sprintf("198.51.%d.1", next)).body
	}
	wantFresh := func(when string) {
		t.Helper()
		for range 3 {
			if got := visit(); got != "fresh" {
				t.Errorf("%s: a visitor is %s", when, got)
			}
		}
	}
	wantFresh("at first")
	accept("key-of-tuesday")
	wantFresh("when the first key has ended")
	if n := refused(); n != 1 {
		t.Errorf("%d calls are refused, want 1: a refused key is set aside", n)
	}
	write(first, "key-of-wednesday")
	accept("key-of-wednesday")
	eventually(t, "the new key is used without a reload", func() bool { return visit() == "fresh" })
	wantFresh("with the new key")

	accept("another")
	before := refused()
	for range 10 {
		if got := visit(); got != "unknown" {
			t.Errorf("with no key that is accepted, a visitor is %s", got)
		}
	}
	if n := refused() - before; n > 2 {
		t.Errorf("%d calls with refused keys, want one for each at most", n)
	}
	if up := r.metric(t, `provider_up{provider="abuseipdb"}`); up != 0 {
		t.Errorf("provider_up is %v while all keys are refused", up)
	}
	accept("key-of-wednesday") // the bill was paid
	if got := visit(); got != "unknown" {
		t.Errorf("a key that is set aside is used: a visitor is %s", got)
	}
	r.ask(t, http.MethodGet, "check/198.51.100.250?fresh", "")
	wantFresh("when an operator asks anew")
	if log := r.logs(t); !strings.Contains(log, `"key":"`+fingerprintOf("key-of-monday")+`"`) {
		t.Errorf("the log does not say which key was refused:\n%s", log)
	}
	if log := r.logs(t); !strings.Contains(log, "the service refused the key") || strings.Contains(log, "key-of-") {
		t.Errorf("the log does not say that keys are refused, or shows one:\n%s", log)
	}
	soon := time.Now().AddDate(0, 0, 5).UTC()
	keys := c.app["providers"].([]any)[0].(object)["keys"].([]any)
	keys[0].(object)["expires"] = soon.Format(time.DateOnly)
	keys[1].(object)["expires"] = "2099-12-31"
	r.reload(t)
	eventually(t, "the log says that a key ends", func() bool { return strings.Count(r.logs(t), "a key ends soon") == 1 })
	metrics := send(t, http.MethodGet, r.admin+"/metrics", "", nil).body
	if n := strings.Count(metrics, "\ncaddy_ip_reputation_key_expiry_timestamp_seconds{"); n != 2 {
		t.Errorf("%d keys are shown with their ends, want 2", n)
	}
	if body := send(t, http.MethodGet, r.admin+"/config/", "", nil).body; strings.Contains(body, "key-of-") {
		t.Error("/config shows a key")
	}
}

// awsCredentials are those with which the SDK of AWS asks for secrets, and nothing on this machine that it might find besides.
func awsCredentials(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "the-account-s-own-secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none",
	} {
		t.Setenv(name, value)
	}
}

// awsStore is a stand-in for AWS Secrets Manager, whose secrets all have the value that is put into it, none at first, and
// what a configuration says to find it there.
func awsStore(t *testing.T) (put func(string), store object) {
	t.Helper()
	awsCredentials(t)
	var stored atomic.Value
	stored.Store("")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		switch key := stored.Load(); {
		case key == "":
			w.WriteHeader(http.StatusInternalServerError)
		case r.Header.Get("X-Amz-Target") == "secretsmanager.GetSecretValue":
			_ = json.NewEncoder(w).Encode(object{"Name": "prod/secret", "SecretString": fmt.Sprintf(`{"key":%q}`, key)})
		default:
			_ = json.NewEncoder(w).Encode(object{"Name": "prod/secret"})
		}
	}))
	t.Cleanup(server.Close)
	return func(value string) { stored.Store(value) }, object{
		"store": "aws_secretsmanager", "name": "prod/secret", "field": "key", "region": "eu-central-1", "endpoint": server.URL,
	}
}

// TestAKeyInAStore proves that a key is taken out of a store in the background: Caddy starts without it, uses a new one from the
// next call on, looks for it when the service refuses the old one, and goes on with the last while the store is away.
func TestAKeyInAStore(t *testing.T) {
	put, store := awsStore(t)
	s := startStandIn(t)
	accept, _ := keyed(s)
	c := newConfig(t)
	c.ask(s)
	c.app["providers"].([]any)[0].(object)["keys"] = []any{object{"refresh": "1h", "store": store}}
	c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.status}"}}
	r := startCaddy(t, c)
	next := 0
	visit := func() string {
		next++
		return r.visit(t, fmt.Sprintf("198.51.%d.1", next)).body
	}
	if got := visit(); got != "unknown" {
		t.Errorf("without a key, a visitor is %s", got)
	}
	accept("key-of-monday")
	put("key-of-monday")
	eventually(t, "the key is used", func() bool { return visit() == "fresh" })
	accept("key-of-tuesday")
	put("key-of-tuesday")
	eventually(t, "a refused key is looked for at once", func() bool { return visit() == "fresh" })
	put("")
	r.reload(t)
	if got := visit(); got != "fresh" {
		t.Errorf("while the store is away, a visitor is %s", got)
	}
	wantNone(t, "the log", r.logs(t), "key-of-monday", "key-of-tuesday", "the-account-s-own-secret")
}

// TestRedisPasswordInAStore proves that Caddy starts without the password of Redis, connects when the store gives it, and looks
// for a new one when Redis refuses the old one.
func TestRedisPasswordInAStore(t *testing.T) {
	put, store := awsStore(t)
	redis := testenv.Redis(t)
	rights := []string{"+@read", "+@write", "+@scripting", "+@connection", "+@pubsub", "+time", "~iprep:*", "&iprep:*"}
	redis.ACL("caddy", "password-of-monday", rights...)
	c := newConfig(t)
	c.share(redis.Addr, object{"username": "caddy", "password": object{"refresh": "1h", "store": store}})
	r := startCaddy(t, c)
	r.awaitRedis(t, 0)
	put("password-of-monday")
	r.awaitRedis(t, 1)
	denied := func() float64 { return r.metric(t, `redis_requests_total{result="denied"}`) }
	if n := denied(); n != 0 || strings.Contains(r.logs(t), "redis is away") {
		t.Errorf("%v attempts before there was a password, which is a false alarm at each start", n)
	}
	redis.CLI("ACL", "SETUSER", "caddy", "resetpass", ">password-of-tuesday")
	put("password-of-tuesday")
	redis.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	eventually(t, "the old password is refused", func() bool { return denied() > 0 })
	r.awaitRedis(t, 1)
	put("")
	r.reload(t)
	r.awaitRedis(t, 1)
	wantNone(t, "the log", r.logs(t), "password-of-", "the-account-s-own-secret")
	wantNone(t, "/config", send(t, http.MethodGet, r.admin+"/config/", "", nil).body, "password-of-")
}

// TestFeedKeys proves that the headers of a feed have its secrets in them: a key that comes late from its store, and a file.
func TestFeedKeys(t *testing.T) {
	put, store := awsStore(t)
	publisher := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if got := key + "/" + r.Header.Get("X-Token"); got != "key-of-monday/token-of-monday" {
			http.Error(w, "not with "+got, http.StatusForbidden)
			return
		}
		fmt.Fprintln(w, badClient)
	}))
	t.Cleanup(publisher.Close)
	c := newConfig(t)
	token := filepath.Join(c.dataDir, "token")
	if err := os.WriteFile(token, []byte("token-of-monday\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.app["feeds"] = []any{object{
		"name": "partner", "sources": []any{publisher.URL}, "key": object{"refresh": "1s", "store": store},
		"header": object{"Authorization": "Bearer {key}", "X-Token": "{file." + token + "}"},
	}}
	r := startCaddy(t, c)
	put("key-of-monday")
	eventually(t, "the list is fetched", func() bool { return r.metric(t, `feed_entries{feed="partner"}`) == 1 })
	wantNone(t, "the log", r.logs(t), "key-of-", "token-of-")
	wantNone(t, "/config", send(t, http.MethodGet, r.admin+"/config/", "", nil).body, "key-of-", "token-of-")
}
