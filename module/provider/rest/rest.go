// Package rest is an HTTP client for reputation services. It has
// limits, and its errors may be logged.
//
// A provider embeds Endpoint, calls Open in Provision and Ask in Check. It defines only the
// request, the type of the answer, and how the answer becomes a report. The example shows a whole
// provider. Package providertest tests the guarantees of the client.
//
// The client makes one request per call and follows no redirect. It limits the time of a call, the
// size of an answer, compressed or not, and the depth of its JSON. Its errors never contain the
// key, the visitor's address or the URL. It logs only one warning, in Open. Quotas, retries and
// caching are the caller's task.
package rest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// maxTime bounds a call whose context has no deadline.
	maxTime = time.Minute

	// defaultMaxBody is the default of API.MaxBody. Most answers have less than 1 KiB.
	defaultMaxBody = 64 << 10

	// maxBatchBody bounds an answer about several addresses, unless API.MaxBody is more.
	maxBatchBody = 4 << 20

	maxHeader = 64 << 10

	// userAgent has no version: services do not need it, and it would help attackers.
	userAgent = "caddy-ip-reputation"
)

// API describes the service that a provider asks.
type API struct {
	// Profile is that of the provider. It gives the name for errors. There is no request if a
	// required key is missing, or for addresses that it does not cover. Required.
	Profile reputation.Profile

	// Title is the service's name in errors, as the service spells it. Default: the profile's name.
	Title string

	// URL is the address of the API: the part that all requests have in common. It must begin with
	// "https://" or lead to this machine. Required.
	URL string

	// SelfHosted is for a service that operators run themselves. It has no address that all of them
	// share: URL is only an example for errors, and Endpoint.URL is required. On the operator's own
	// network it may begin with "http://". Default: false.
	SelfHosted bool

	// ClearText allows a URL that begins with "http://", for services without TLS. Default: false.
	ClearText bool

	// MediaTypes are the content types of answers, such as "text/plain" for a service that sends
	// its JSON with that type. Default: "application/json" and all that end in "+json".
	MediaTypes []string

	// MaxBody is the size of the largest answer about one address, in bytes, after decompression. An
	// answer about several may be that many times as large, up to 4 MiB. Default: 64 KiB.
	MaxBody int64

	// ResetHeader is the header field with the time at which the quota
	// is full again, for a 429 without Retry-After. Its unit is
	// seconds since 1970 or, below a billion, from now. Default: none.
	ResetHeader string

	// Detail returns the service's message from the body of an error, or "". The client appends the
	// message to its own error, unless it repeats a key, an address or a URL. Message makes one that
	// reads a member. Default: no message.
	Detail func(body []byte) string
}

// Endpoint is where a provider sends its requests: the service, or a gateway before it.
type Endpoint struct {
	// The address of the API, for a gateway, or for a fake service in tests. The provider appends
	// the same paths and parameters as to the default. The key is sent there, so it should begin
	// with `https://`. Global placeholders, such as `{env.API_URL}`, are resolved when the
	// configuration is loaded. Default: the address of the service.
	URL string `json:"url,omitempty"`

	api       API
	base      *url.URL
	transport *http.Transport
	closed    *atomic.Bool // Cleanup was called
}

// Options returns the Caddyfile options that all providers with an Endpoint have, to stand before the provider's own:
// `url <address>`. Errors quote the example, which is a text such as "an address such as https://api.acme.example/v1".
func (e *Endpoint) Options(example string) []option.Option {
	return []option.Option{option.Once("url", option.Text(&e.URL, example), func() error {
		if strings.Contains(e.URL, "{") {
			return nil // placeholders are resolved when the configuration is loaded
		}
		if _, err := parseBase(e.URL, "https://api.example.com"); err != nil {
			return fmt.Errorf("reading the url: %w", err)
		}
		return nil
	})}
}

// Open resolves the settings and creates the transport. It opens no connection. Call it in
// Provision. The context is used for logging only.
func (e *Endpoint) Open(ctx caddy.Context, api API) error {
	if err := api.complete(); err != nil {
		return err
	}
	name, address := api.Profile.Name, api.URL
	switch {
	case e.URL == "" && api.SelfHosted:
		return fmt.Errorf("%s has no url: set it to the address of your service, such as %s", name, api.URL)
	case e.URL != "":
		var err error
		if address, err = caddy.NewReplacer().ReplaceOrErr(e.URL, true, true); err != nil {
			return fmt.Errorf("resolving the url of %s: %w", name, err)
		}
	}
	base, err := parseBase(address, api.URL)
	if err != nil {
		return fmt.Errorf("reading the url of %s: %w", name, err)
	}
	if e.URL != "" && readable(base, &api) {
		ctx.Slogger().Warn("addresses, and the key if there is one, are sent without encryption: "+
			"use a url that begins with https://", "provider", name, "host", base.Hostname())
	}
	e.api, e.base, e.closed = api, base, new(atomic.Bool)
	e.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// The caller's context bounds every call. These two bound a
		// connection whose call has ended before.
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Without pings, every call on a connection that a firewall has dropped would hang until
		// TCP times out, which takes a quarter of an hour.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second,
			PingTimeout: 5 * time.Second},
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
	return nil
}

// Cleanup closes the idle connections. Those in use, and those of calls that begin later, close when their call ends.
func (e *Endpoint) Cleanup() error {
	if e.transport != nil {
		e.closed.Store(true)
		e.transport.CloseIdleConnections()
	}
	return nil
}

// complete fills in the defaults. It returns an error if the provider's author made a mistake.
func (a *API) complete() error {
	if err := a.Profile.Validate(); err != nil {
		return fmt.Errorf("the provider is not complete: %w", err)
	}
	if a.Title == "" {
		a.Title = a.Profile.Name
	}
	if a.MaxBody <= 0 {
		a.MaxBody = defaultMaxBody
	}
	base, err := parseBase(a.URL, "https://api.example.com")
	switch {
	case err != nil:
		return fmt.Errorf("the provider %s is not complete: its API.URL is %w", a.Profile.Name, err)
	case !a.ClearText && !a.SelfHosted && !encrypted(base):
		return fmt.Errorf("the provider %s is not complete: its API.URL must begin with https://",
			a.Profile.Name)
	}
	return nil
}

// parseBase reads the address of an API. Its errors do not repeat the
// address, which may hold a gateway's secret.
func parseBase(address, example string) (*url.URL, error) {
	base, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("not a URL: use one like %s", example)
	case base.Scheme != "https" && base.Scheme != "http":
		return nil, fmt.Errorf("its scheme is %q: use one that begins with https://", base.Scheme)
	case base.Hostname() == "":
		return nil, fmt.Errorf("it names no host: use one like %s", example)
	case base.User != nil:
		return nil, errors.New("it holds a user name: the service takes its key from the key option only")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("it holds a query or a fragment: end it before '?' or '#'")
	}
	return base, nil
}

// encrypted reports whether requests to base are encrypted or stay on this machine.
func encrypted(base *url.URL) bool {
	addr, err := netip.ParseAddr(base.Hostname())
	return base.Scheme == "https" || base.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// Confidential reports whether nobody else can read requests to base: they are encrypted, or stay on this machine or on
// the operator's own network.
func Confidential(base *url.URL) bool { return encrypted(base) || ownNetwork(base.Hostname()) }

// readable reports whether others can read requests to base. On the operator's own network they may, unless a service of
// somebody else is sent a key.
func readable(base *url.URL, api *API) bool {
	if api.SelfHosted || api.Profile.Key == reputation.KeyNone {
		return !Confidential(base)
	}
	return !encrypted(base)
}

// ownNetwork reports whether a host is surely on the operator's own network: a private address, or a
// name that public DNS does not have, such as that of a container.
func ownNetwork(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsPrivate() || addr.IsLinkLocalUnicast()
	}
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".internal") || strings.HasSuffix(host, ".local")
}

// Interface guards
var _ caddy.CleanerUpper = (*Endpoint)(nil)
