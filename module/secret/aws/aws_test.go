package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What must never be in an error or in the log. The access key's name is none, but has no business there either.
const (
	accessKey    = "AKIAIOSFODNN7EXAMPLE"
	secretKey    = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	sessionToken = "FwoGZXIvYXdzEXAMPLETOKEN+/=="
	value        = "s3cr3t-v4lu3"
)

var secrets = []string{accessKey, secretKey, sessionToken, value, "n3w-v4lu3", "hunter2"}

func TestMain(m *testing.M) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			os.Unsetenv(name)
		}
	}
	home, err := os.MkdirTemp("", "aws")
	if err != nil {
		panic(err)
	}
	for name, value := range map[string]string{
		"HOME":                        home,
		"AWS_CONFIG_FILE":             filepath.Join(home, "config"),
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "credentials"),
		"AWS_EC2_METADATA_DISABLED":   "true",
		"AWS_ACCESS_KEY_ID":           accessKey,
		"AWS_SECRET_ACCESS_KEY":       secretKey,
		"AWS_SESSION_TOKEN":           sessionToken,
	} {
		os.Setenv(name, value)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(home)
		os.Exit(code)
	}))
}

type object = map[string]any

// reply is what the stand-in answers. A nil body is an empty one, a string is sent as it is.
type reply struct {
	status int
	body   any
	header map[string]string
}

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

// refuse is how AWS answers when it does not do something.
func refuse(code, message string) reply {
	return reply{status: http.StatusBadRequest, body: object{"__type": "com.amazonaws." + "x#" + code, "message": message}}
}

// standIn is a stand-in for AWS. It answers each operation as it is told, and remembers who asked what.
type standIn struct {
	*httptest.Server

	mu      sync.Mutex
	replies map[string]reply
	calls   []string
	last    map[string]*http.Request
	bodies  map[string]object
}

func newStandIn(tb testing.TB, replies map[string]reply) *standIn {
	tb.Helper()
	s := &standIn{replies: make(map[string]reply), last: make(map[string]*http.Request), bodies: make(map[string]object)}
	maps.Copy(s.replies, replies)
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	tb.Cleanup(s.Close)
	return s
}

// operation is what is asked for: `GetSecretValue`, or for the query protocol of STS its action.
func operation(r *http.Request, body []byte) string {
	if _, name, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return name
	}
	_, action, _ := strings.Cut(string(body), "Action=")
	action, _, _ = strings.Cut(action, "&")
	return r.URL.Path + action
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	name := operation(r, body)
	var question object
	_ = json.Unmarshal(body, &question)
	s.mu.Lock()
	s.calls = append(s.calls, name)
	s.last[name], s.bodies[name] = r, question
	reply, known := s.replies[name]
	s.mu.Unlock()
	if !known {
		reply = refuse("AccessDeniedException", "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: test:"+name+" on it")
	}
	if reply.status == hangs {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	for key, value := range reply.header {
		w.Header().Set(key, value)
	}
	w.WriteHeader(reply.status)
	switch body := reply.body.(type) {
	case nil:
	case string:
		_, _ = io.WriteString(w, body)
	default:
		_ = json.NewEncoder(w).Encode(body)
	}
}

// hangs is the status of a reply that never comes.
const hangs = -1

func (s *standIn) set(name string, r reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies[name] = r
}

func (s *standIn) count(name string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, call := range s.calls {
		if name == "" || call == name {
			n++
		}
	}
	return n
}

func (s *standIn) question(name string) (*http.Request, object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[name], s.bodies[name]
}

// restart lets it answer again at the address that it had before Close.
func (s *standIn) restart(tb testing.TB) {
	tb.Helper()
	listener, err := net.Listen("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Listener.Close()
	s.Listener = listener
	s.Start()
	tb.Cleanup(s.Close)
}

// load returns a store as Caddy makes it: from JSON.
func load(tb testing.TB, store string, config object) (reputation.SecretStore, error) {
	tb.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("ip_reputation.secrets."+store, text)
	if err != nil {
		return nil, err
	}
	return module.(reputation.SecretStore), nil
}

// Both stores, and how AWS answers for each.
type kind struct {
	store, name string // the module, and the member of its JSON that names the secret
	get         string // the operation that gets the value
	answer      func(text, version string) reply
	describe    []string
}

var kinds = map[string]kind{
	"secretsmanager": {"aws_secretsmanager", "name", "GetSecretValue", func(text, version string) reply {
		return ok(object{"ARN": "arn:aws:secretsmanager:eu-central-1:1:secret:prod/key-a1b2c3", "Name": "prod/key", "SecretString": text,
			"VersionId": "00000000-0000-0000-0000-00000000000" + version, "VersionStages": []string{"AWSCURRENT"}})
	}, []string{"DescribeSecret"}},
	"ssm": {"aws_ssm", "path", "GetParameter", func(text, version string) reply {
		return ok(object{"Parameter": object{"Name": "prod/key", "Type": "SecureString", "Value": text, "Version": json.Number(version)}})
	}, []string{"ListTagsForResource", "DescribeParameters"}},
}

// each runs a test for both stores.
func each(t *testing.T, test func(t *testing.T, k kind)) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) { test(t, k) })
	}
}

// open returns a store of the kind that asks the stand-in.
func (k kind) open(tb testing.TB, s *standIn, more object) reputation.SecretStore {
	tb.Helper()
	config := object{k.name: "prod/key", "region": "eu-central-1", "endpoint": s.URL}
	maps.Copy(config, more)
	store, err := load(tb, k.store, config)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

// failing fetches, and returns the error, which must hold no secret.
func failing(tb testing.TB, store reputation.SecretStore) error {
	tb.Helper()
	got, err := store.Fetch(tb.Context())
	if err == nil || got.Value != "" {
		tb.Fatalf("got a secret and error %v, want an error alone", err)
	}
	harmless(tb, fmt.Sprintf("%v\n%+v\n%#v", err, err, err.Error()))
	return err
}

func harmless(tb testing.TB, text string) {
	tb.Helper()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			tb.Errorf("%q is in %s", secret, text)
		}
	}
}

func wantValue(tb testing.TB, store reputation.SecretStore, want string) reputation.Secret {
	tb.Helper()
	got, err := store.Fetch(tb.Context())
	if err != nil || got.Value != want {
		tb.Fatalf("got %q and error %v, want %q", got.Value, err, want)
	}
	return got
}
