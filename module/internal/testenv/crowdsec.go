package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// crowdSecFolder has the variable for the folder of the programs crowdsec and cscli.
const crowdSecFolder = "IPREP_TEST_CROWDSEC"

// CrowdSecServer is a CrowdSec that runs its local API only. It speaks to nobody.
type CrowdSecServer struct {
	URL string

	tb      testing.TB
	bin     string // the folder of its programs
	dir     string
	addr    string
	process *process
}

// CrowdSec starts a local API.
func CrowdSec(tb testing.TB) *CrowdSecServer {
	tb.Helper()
	return newCrowdSec(tb, "http", "")
}

// CrowdSecTLS starts a local API that accepts only TLS. It knows clients by a certificate of its
// authority, too. Its own certificate is for 127.0.0.1 and localhost.
func CrowdSecTLS(tb testing.TB) (*CrowdSecServer, Certificates) {
	tb.Helper()
	c, _ := newCertificates(tb)
	return newCrowdSec(tb, "https", fmt.Sprintf(`
    tls:
      cert_file: %s
      key_file: %s
      ca_cert_path: %s
      client_verification: VerifyClientCertIfGiven
      bouncers_allowed_ou: [client]
`, c.serverCert, c.serverKey, c.CA)), c
}

func newCrowdSec(tb testing.TB, scheme, server string) *CrowdSecServer {
	tb.Helper()
	s := &CrowdSecServer{tb: tb, bin: crowdSecPrograms(tb), dir: tb.TempDir()}
	tb.Cleanup(s.Stop) // before the folder is removed
	err := errPortTaken
	for i := 0; i < attempts && errors.Is(err, errPortTaken); i++ {
		s.addr = loopback(freePort(tb))
		s.URL = scheme + "://" + s.addr
		s.configure(server)
		err = s.start()
	}
	if err != nil {
		tb.Fatalf("CrowdSec at %s: %v; its log:\n%s", s.addr, err, s.Log())
	}
	return s
}

// crowdSecPrograms returns the folder of crowdsec and cscli. `make services` extracts a package into
// the folder .bin of the checkout, since a system that installs it calls its maker.
func crowdSecPrograms(tb testing.TB) string {
	tb.Helper()
	places := []string{os.Getenv(crowdSecFolder)}
	if places[0] == "" {
		root, err := os.Getwd()
		for err == nil && root != filepath.Dir(root) {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			root = filepath.Dir(root)
		}
		places = append([]string{filepath.Join(root, ".bin", "crowdsec")}, usualPlaces...)
	}
	for _, dir := range places {
		_, err := exec.LookPath(filepath.Join(dir, "crowdsec"))
		if _, err2 := exec.LookPath(filepath.Join(dir, "cscli")); err == nil && err2 == nil {
			return dir
		}
	}
	missing(tb, "crowdsec", "make services, or "+crowdSecFolder+" with the folder of crowdsec and cscli")
	return ""
}

// configure writes the server's folder, with a machine that cscli is.
func (s *CrowdSecServer) configure(server string) {
	s.tb.Helper()
	write := func(name, text string) {
		s.tb.Helper()
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			s.tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			s.tb.Fatal(err)
		}
	}
	write("hub/.index.json", "{}")
	write("profiles.yaml", "name: none\nfilters: [\"false\"]\ndecisions: [{type: ban, duration: 4h}]\n")
	// One connection, since with several a write beside another fails at once: "database is locked".
	write("config.yaml", strings.NewReplacer("DIR", s.dir, "ADDR", s.addr).Replace(`
common: {daemonize: false, log_media: stdout, log_level: info, working_dir: DIR}
config_paths:
  config_dir: DIR
  data_dir: DIR
  hub_dir: DIR/hub
  index_path: DIR/hub/.index.json
  notification_dir: DIR
  plugin_dir: DIR
crowdsec_service: {enable: false}
cscli: {output: human}
db_config: {type: sqlite, db_path: DIR/crowdsec.db, use_wal: true, max_open_conns: 1}
prometheus: {enabled: false}
api:
  client: {credentials_path: DIR/machine.yaml, insecure_skip_verify: true}
  server:
    listen_uri: ADDR
    profiles_path: DIR/profiles.yaml
`)+server)
	s.Cscli("machines", "add", "tests", "--password", "tests", "--force", "-f", filepath.Join(s.dir, "machine.yaml"))
	write("machine.yaml", "url: "+s.URL+"\nlogin: tests\npassword: tests\n")
}

// Start starts the server again after Stop, with what it knew.
func (s *CrowdSecServer) Start() {
	s.tb.Helper()
	if err := s.start(); err != nil {
		s.tb.Fatalf("CrowdSec at %s: %v; its log:\n%s", s.addr, err, s.Log())
	}
}

func (s *CrowdSecServer) start() (err error) {
	path, config := filepath.Join(s.bin, "crowdsec"), filepath.Join(s.dir, "config.yaml")
	if s.process, err = startProcess(s.dir, filepath.Join(s.dir, "log"), path, "-c", config, "-no-cs"); err != nil {
		return err
	}
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(pollInterval) {
		switch {
		case s.process.ended() && strings.Contains(s.Log(), "address already in use"):
			return errPortTaken
		case s.process.ended():
			return errEnded
		}
		if conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", s.addr); err == nil {
			return conn.Close()
		}
	}
	s.process.kill()
	return errNotReady
}

// Stop kills the server and waits for its end. Stopping again does nothing.
func (s *CrowdSecServer) Stop() {
	if s.process != nil {
		s.process.kill()
	}
}

// Log returns the server's output.
func (s *CrowdSecServer) Log() string { return readLog(filepath.Join(s.dir, "log")) }

// Cscli runs cscli and returns its trimmed output. An error fails the test.
func (s *CrowdSecServer) Cscli(args ...string) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	args = append([]string{"-c", filepath.Join(s.dir, "config.yaml")}, args...)
	out, err := exec.CommandContext(ctx, filepath.Join(s.bin, "cscli"), args...).Output() //nolint:gosec // the arguments come from tests
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		s.tb.Fatalf("cscli %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// AddBouncer makes a key for a bouncer of the given name.
func (s *CrowdSecServer) AddBouncer(name string) (key string) {
	s.tb.Helper()
	key = "key-of-" + name
	s.Cscli("bouncers", "add", name, "-k", key)
	return key
}
