// Package health is the handler `ip_reputation_health`: it answers load balancers and Kubernetes how this
// instance is doing.
package health

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

func init() {
	caddy.RegisterModule(new(Health))
}

// Health answers load balancers, Kubernetes and operators: whether this Caddy is alive, whether it can serve,
// and how lists, providers, keys and Redis are doing. It answers from what this instance knows and asks
// nobody, in the format `application/health+json`. It is for GET and HEAD; whom it answers is for the route
// to say.
type Health struct {
	// What to answer. `live`: 200 as long as the process can answer. `ready`: 200 while it can serve, and 503
	// as soon as Caddy begins to stop: `shutdown_delay` of the http app leaves time between that and the end. After
	// a start, it is 503 until each list has contents, from disk or from its publisher, for 10s at most. If Redis, a
	// provider or a feed is down later, it stays 200, since requests are served without them. `detail`: as `ready`,
	// with the state of every component and what somebody should look at. It holds no secrets, but is not for the
	// public: it names your sources, and shows when they are down. Default: `ready`.
	Form string `json:"form,omitempty"`

	form form
}

type form uint8

const (
	formReady form = iota
	formLive
	formDetail
)

// CaddyModule returns the Caddy module information.
func (*Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ip_reputation_health",
		New: func() caddy.Module { return new(Health) },
	}
}

// CheckForm reports whether there is no such form of an answer.
func CheckForm(form string) error {
	_, err := parseForm(form)
	return err
}

func parseForm(text string) (form, error) {
	switch text {
	case "", "ready":
		return formReady, nil
	case "live":
		return formLive, nil
	case "detail":
		return formDetail, nil
	}
	return 0, fmt.Errorf("unknown form %q of ip_reputation_health: use live, ready or detail", text)
}

// Provision makes sure that there is an app to speak of.
func (h *Health) Provision(ctx caddy.Context) (err error) {
	if h.form, err = parseForm(h.Form); err != nil {
		return err
	}
	_, err = runtime.Of(ctx)
	return err
}

// ServeHTTP answers, and hands nothing on.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	report := health.Report{Status: health.Pass}
	now := time.Now()
	rt := runtime.ServingFor(r)
	if h.form == formDetail && rt != nil {
		report = rt.Health(now)
	}
	switch {
	case h.form == formLive:
	case rt == nil:
		report = health.Report{Status: health.Fail, Output: "caddy is starting or stopping"}
	case rt.Lists.Awaited(now):
		report.Status, report.Output = health.Fail, "lists are being fetched for the first time"
	}
	body, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("writing how this instance is doing: %w", err)
	}
	w.Header().Set("Content-Type", "application/health+json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if report.Status == health.Fail {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(body)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddyhttp.MiddlewareHandler = (*Health)(nil)
)
