package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/certmagic"

	// plugged in
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
)

const example = "Caddyfile.example"

// startCaddy loads Caddyfile.example with the given environment. Caddy writes to dir only, and
// removes it at its end.
func startCaddy(ports ports, dir string, environment map[string]string) error {
	text, err := os.ReadFile(example)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: run the demo from the root of the repository", err)
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}

	environment["XDG_DATA_HOME"], environment["XDG_CONFIG_HOME"] = dir, dir
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// the defaults were computed from the environment at the start of the process
	caddy.DefaultStorage = &certmagic.FileStorage{Path: caddy.AppDataDir()}
	caddy.ConfigAutosavePath = filepath.Join(caddy.AppConfigDir(), "autosave.json")
	caddy.DefaultAdminListen = ports.admin

	caddy.OnExit(func(context.Context) { removeData(dir) })
	caddy.TrapSignals()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": example})
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting Caddy with %s: %w", example, err)
	}
	return nil
}

func removeData(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "demo: removing Caddy's data:", err)
	}
}

// awaitReady waits until the answer about an unused address is complete: the
// service has answered, and all lists are loaded. Caddy starts before that, since
// it spreads the first fetches over a second or two.
func awaitReady(admin string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	url := "http://" + admin + "/ip_reputation/check/192.0.2.1"
	status, err := checkStatus(ctx, url+"?fresh") // asks the service
	for err == nil && status != "fresh" {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the lists: %w, the status is %s", ctx.Err(), status)
		case <-time.After(200 * time.Millisecond):
			status, err = checkStatus(ctx, url)
		}
	}
	if err != nil {
		return fmt.Errorf("asking Caddy whether it is ready: %w", err)
	}
	return nil
}

// checkStatus returns the status of the admin API's answer at url.
func checkStatus(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct {
		Status string `json:"status"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer); err != nil {
		return "", fmt.Errorf("reading an answer of %s: %w", response.Status, err)
	}
	return answer.Status, nil
}
