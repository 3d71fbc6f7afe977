// Package webhook is the event handler `ip_reputation_webhook`: it posts events of Caddy to a URL.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/webhook"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

func init() {
	caddy.RegisterModule(new(Webhook))
}

// Webhook posts events to a URL, as JSON, signed as Standard Webhooks has it
// (https://www.standardwebhooks.com). It takes the events of any module of Caddy. Events never wait for it:
// they are queued, and delivered one after the other.
//
// The body is an object with `id`, `event`, `time`, `data`, `source` (the module that the event comes from)
// and `instance` (the host's name). The headers are `webhook-id`, `webhook-timestamp` and
// `webhook-signature`: the signed text is the ID, the timestamp and the body, joined by full stops.
type Webhook struct {
	// Where to post. It must be https, or http on this machine. Placeholders are resolved when the configuration
	// is loaded. Redirects are not followed. Required.
	URL string `json:"url,omitempty"`

	// What to sign with, HMAC-SHA256: at least 24 random bytes, in base64 behind `whsec_`; other texts are taken
	// as they are. With several, each makes a signature, so that a receiver can go from one to the next. One is
	// required.
	Secrets []secret.Secret `json:"secrets,omitempty"`

	// Headers to send, such as `Authorization`. Placeholders in their values are resolved when the configuration
	// is loaded. Default: none.
	Header map[string]string `json:"header,omitempty"`

	// How long one attempt may take. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How often an event is sent again when the receiver does not answer, or answers with 408, 429 or a 5xx:
	// after 1s, 2s, 4s …, or when it says (`Retry-After`, up to 5m). Other answers are final. Default: 5.
	Retries *int `json:"retries,omitempty"`

	// How many events may wait. When there are more, the oldest are dropped, and the log says so. Default: 100.
	Queue int `json:"queue,omitempty"`

	sender   *webhook.Sender
	secrets  []*refresh.Refresher
	starting sync.Once
	instance string
	host     string
	leases   process.Leases
}

// CaddyModule returns the Caddy module information.
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "events.handlers.ip_reputation_webhook",
		New: func() caddy.Module { return new(Webhook) },
	}
}

const (
	maxWebhookTimeout = time.Minute
	maxWebhookRetries = 20
	maxWebhookQueue   = 10_000

	// maxEventData is how much of an event's data is sent, in bytes of JSON.
	maxEventData = 64 << 10
)

// Check reports what is wrong with the settings, as far as they can be judged by themselves.
func (w *Webhook) Check() error {
	switch {
	case w.URL == "":
		return errors.New("no URL is given: write `ip_reputation_webhook https://…`")
	case len(w.Secrets) == 0:
		return errors.New("no secret is given: " + secret.HowToWrite("secret"))
	}
	if err := errors.Join(w.checkOptions(), w.checkSecrets()); err != nil {
		return err
	}
	if strings.Contains(w.URL, "{") {
		return nil // it is not known yet
	}
	_, err := webhookURL(w.URL)
	return err
}

// checkSecrets reports secrets that stand in the configuration itself and are none.
func (w *Webhook) checkSecrets() error {
	for i := range w.Secrets {
		if err := w.Secrets[i].CheckValue(webhook.CheckSecret); err != nil {
			return err
		}
	}
	return nil
}

// wrongHeader reports a header that was meant to hold a secret.
func (w *Webhook) wrongHeader() error {
	for name, value := range w.Header {
		if err := secret.CheckHeader(name, value); err != nil {
			return err
		}
	}
	return nil
}

// checkOptions reports what is wrong with the settings that can be left out.
func (w *Webhook) checkOptions() error {
	switch {
	case w.wrongHeader() != nil:
		return w.wrongHeader()
	case w.Timeout < 0 || time.Duration(w.Timeout) > maxWebhookTimeout:
		return fmt.Errorf("timeout %s is out of range: use up to %s", time.Duration(w.Timeout), maxWebhookTimeout)
	case w.Retries != nil && (*w.Retries < 0 || *w.Retries > maxWebhookRetries):
		return fmt.Errorf("retries %d is out of range: use 0 to %d", *w.Retries, maxWebhookRetries)
	case w.Queue < 0 || w.Queue > maxWebhookQueue:
		return fmt.Errorf("queue %d is out of range: use 1 to %d", w.Queue, maxWebhookQueue)
	}
	for name := range w.Header {
		if strings.HasPrefix(strings.ToLower(name), "webhook-") {
			return fmt.Errorf("header %s is set by the webhook itself: remove it", name)
		}
	}
	return nil
}

// webhookURL reads the URL. Since it may hold a secret, errors do not repeat it.
func webhookURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("the URL of the webhook is none: write it like https://hooks.example.com/caddy")
	case u.Scheme == "https" || u.Scheme == "http" && address.IsLoopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("the URL of the webhook is not https, and its host is not this machine: events could be read on their way, use https")
}

// Provision resolves the settings. Nobody is called before the first event.
func (w *Webhook) Provision(ctx caddy.Context) error {
	if err := w.Check(); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	text, err := secret.Resolve("url", w.URL)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	to, err := webhookURL(text)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	header := make(http.Header, len(w.Header))
	for name, value := range w.Header {
		if value, err = secret.Resolve("header "+name, value); err != nil {
			return fmt.Errorf("webhook: %w", err)
		}
		header.Set(name, value)
	}
	w.host = to.Host
	if err := w.provisionSecrets(ctx); err != nil {
		return fmt.Errorf("webhook to %s: %w", w.host, err)
	}
	if w.instance, err = os.Hostname(); err != nil {
		w.instance = "unknown"
	}
	retries := webhook.DefaultRetries
	if w.Retries != nil {
		retries = *w.Retries
	}
	w.sender = webhook.New(webhook.Options{
		URL: to, Header: header, Secrets: w.current, Timeout: time.Duration(w.Timeout), Retries: retries, Queue: w.Queue,
		Logger: runtime.ProcessLogger("webhook"),
	})
	return nil
}

func (w *Webhook) provisionSecrets(ctx caddy.Context) error {
	use := secret.Use{Name: "webhook", Option: "secret", Hide: true, Logger: ctx.Slogger()}
	for i := range w.Secrets {
		if w.Secrets[i].Expires != "" {
			return errors.New("nobody looks at when the secret of a webhook ends: remove `expires`")
		}
		opened, err := w.Secrets[i].Open(ctx, &w.leases, use)
		if err != nil {
			return err
		}
		w.secrets = append(w.secrets, opened)
		if value, ok := opened.Current(); ok {
			if err := webhook.CheckSecret(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// current returns the secrets that there are now.
func (w *Webhook) current() (values []string) {
	for _, s := range w.secrets {
		if value, ok := s.Current(); ok {
			values = append(values, value)
		}
	}
	return values
}

// eventBody is what is posted.
type eventBody struct {
	ID       string          `json:"id"`
	Event    string          `json:"event"`
	Time     time.Time       `json:"time"`
	Data     json.RawMessage `json:"data"`
	Source   string          `json:"source"`
	Instance string          `json:"instance"`
}

// Handle implements caddyevents.Handler. It never waits, and never fails: what cannot be delivered is no
// reason to stop what the event is about.
func (w *Webhook) Handle(_ context.Context, e caddy.Event) error {
	w.starting.Do(func() {
		for _, s := range w.secrets {
			s.Start()
		}
	})
	source := "caddy"
	if origin := e.Origin(); origin != nil {
		source = string(origin.CaddyModule().ID)
	}
	id := e.ID().String()
	body, err := json.Marshal(eventBody{
		ID: id, Event: e.Name(), Time: e.Timestamp().UTC(), Data: eventData(e.Data), Source: source, Instance: w.instance,
	})
	if err == nil {
		w.sender.Send(webhook.Message{ID: id, Name: e.Name(), Body: body})
	}
	return nil
}

// eventData writes an event's data. It is done while the event is handled: the data may change afterwards.
// Other modules put into it what they like; what is not for JSON is left out, and so is everything when it is
// too much.
func eventData(data map[string]any) json.RawMessage {
	members := make(map[string]json.RawMessage, len(data))
	for name, value := range data {
		if text, err := marshal(value); err == nil {
			members[name] = text
		}
	}
	text, err := json.Marshal(members)
	if err != nil || len(text) > maxEventData {
		return json.RawMessage("{}")
	}
	return json.RawMessage(runtime.CurrentPrivacy().Text(string(text))) // Caddy's own events may hold addresses of visitors
}

// marshal is json.Marshal for values whose methods may panic.
func marshal(value any) (text []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return json.Marshal(value)
}

// MarshalLogObject shows no more than the host to Caddy's debug log, which prints handlers.
func (w *Webhook) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("host", w.host)
	return nil
}

// deliverWithin is how long events that are still queued may delay the end of the process.
// Several webhooks share the time, but for a moment that each has to itself.
const (
	deliverWithin  = 2 * time.Second
	deliverAtLeast = 250 * time.Millisecond
)

// deliverBy is when the last delivery ends at the end of the process.
var deliverBy = sync.OnceValue(func() time.Time { return time.Now().Add(deliverWithin) })

// Cleanup delivers what is queued in the background, for as long as the delivery of one event may take, or in
// a moment when the process ends.
func (w *Webhook) Cleanup() error {
	if w.sender == nil {
		return w.leases.Release()
	}
	w.sender.Close()
	select {
	case <-w.sender.Done():
		return w.leases.Release()
	default:
	}
	process.Background.Go(w.drain)
	if caddy.Exiting() {
		process.Background.Shutdown()
	}
	return nil
}

// drain waits for the last deliveries.
func (w *Webhook) drain(shutdown context.Context) {
	logger := runtime.ProcessLogger("webhook")
	defer func() {
		if r := recover(); r != nil {
			logger.Error("ending a webhook panicked; this is a bug", slog.Any("panic", r))
		}
	}()
	timer := time.NewTimer(w.sender.Longest())
	defer timer.Stop()
	select {
	case <-w.sender.Done():
	case <-timer.C:
	case <-shutdown.Done():
		w.sender.Drain()
		timer.Reset(max(time.Until(deliverBy()), deliverAtLeast))
		select {
		case <-w.sender.Done():
		case <-timer.C:
		}
	}
	w.sender.Abort()
	<-w.sender.Done()
	if err := w.leases.Release(); err != nil {
		logger.Error("releasing the secrets of a webhook", slog.Any("error", err))
	}
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Webhook)(nil)
	_ caddy.CleanerUpper      = (*Webhook)(nil)
	_ caddyevents.Handler     = (*Webhook)(nil)
	_ zapcore.ObjectMarshaler = (*Webhook)(nil)
)
