package testenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// DNSZone is a zone of a DNS list.
type DNSZone struct {
	Name string // of the zone
	Kind string // of the data, as rbldnsd names it: ip4set, ip6trie
	Data string // without SOA, which is added
}

// soa says that what is not listed may be remembered for ten minutes.
const soa = "$SOA 3000 ns.example.org hostmaster.example.org 0 600 300 86400 600\n"

// Rbldnsd starts a server of DNS lists, as most public lists run it, and returns its address. It answers over UDP.
// Two zones of one name are one zone, with addresses of both kinds.
func Rbldnsd(tb testing.TB, zones ...DNSZone) string {
	tb.Helper()
	path, ok := locate("rbldnsd", "/usr/sbin", "/usr/local/sbin")
	if !ok {
		missing(tb, "rbldnsd", "apt-get install rbldnsd")
	}
	// Not tb.TempDir, which another user cannot read.
	dir, err := os.MkdirTemp("", "rbldnsd")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	attributes := killWithParent()
	if os.Geteuid() == 0 { // it does not run as root
		owner := nobody(tb)
		if err := os.Chown(dir, owner.uid, owner.gid); err != nil {
			tb.Fatal(err)
		}
		if attributes == nil {
			attributes = new(syscall.SysProcAttr)
		}
		attributes.Credential = &syscall.Credential{Uid: uint32(owner.uid), Gid: uint32(owner.gid)}
	}
	addr := FreeAddr(tb)
	args := []string{"-n", "-b", strings.Replace(addr, ":", "/", 1)}
	for i, zone := range zones {
		file := "zone" + string(rune('a'+i))
		//nolint:gosec // another user reads it
		if err := os.WriteFile(filepath.Join(dir, file), []byte(soa+zone.Data), 0o644); err != nil {
			tb.Fatal(err)
		}
		args = append(args, zone.Name+":"+zone.Kind+":"+file)
	}
	cmd := exec.CommandContext(context.Background(), path, args...) //nolint:gosec // the arguments come from tests
	cmd.Dir, cmd.SysProcAttr = dir, attributes
	log := filepath.Join(dir, "log")
	server, err := launch(cmd, log)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(server.kill)
	for end := time.Now().Add(timeout); !strings.Contains(readLog(log), " started ("); time.Sleep(pollInterval) {
		if server.ended() || time.Now().After(end) {
			tb.Fatalf("rbldnsd at %s does not start; its log:\n%s", addr, readLog(log))
		}
	}
	return addr
}
