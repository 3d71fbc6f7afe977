package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnit holds what protects the service, where systemd is there by its own judgement.
func TestUnit(t *testing.T) {
	const name = "deploy/systemd/caddy-ip-reputation.service"
	text := deployed(t, name)
	for _, want := range []string{
		"Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
		"CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "SystemCallFilter=@system-service", "RestartPreventExitStatus=1",
		"MemoryDenyWriteExecute=yes", "StateDirectoryMode=0700", "UMask=0077",
		"LogsDirectory=caddy-ip-reputation", "LogsDirectoryMode=0750",
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("the service lacks %s", want)
		}
	}
	if strings.Contains(text, "--environ") {
		t.Error("the environment, and what is secret in it, would be in the journal")
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("there is no systemd-analyze")
		return
	}
	unit := filepath.Join(t.TempDir(), filepath.Base(name))
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, "/usr/bin/caddy ", "/bin/true ")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
