// Package rest asks reputation services over HTTP: a client with bounds, and errors that may be logged.
//
// A provider embeds Endpoint, opens it in Provision and calls Ask in Check. What is left to it is its question, the type of
// its answer, and what the answer means. The example shows a whole one; providertest is the test of what the client promises.
//
// The client makes one request per call and follows no redirect. It bounds the time of a call, the size of an answer, packed or
// not, and the depth of its JSON. No error of its own holds the key, the visitor's address or the URL, and it logs nothing but
// a warning when it is opened. Quotas, retries and caching belong to the caller.
package rest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// maxTime bounds a call whose context has no deadline.
	maxTime = time.Minute

	// defaultMaxBody is what an answer about one address may have; most have less than 1 KiB.
	defaultMaxBody = 64 << 10

	maxHeader = 64 << 10

	// userAgent carries no version: services have no use for it, and it would tell whom to attack.
	userAgent = "caddy-ip-reputation"
)

// API is what a provider says of the service that it asks.
type API struct {
	// Profile is that of the provider. Errors name the source by it; keys and addresses that it excludes are not asked with
	// and about. Required.
	Profile reputation.Profile

	// Title is how the service writes its name, for errors. Default: the profile's name.
	Title string

	// URL is the address of the API, up to what all questions have in common. It begins with "https://", or leads to this
	// machine. Required.
	URL string

	// ClearText lets URL begin with "http://", for services that offer nothing else. Default: false.
	ClearText bool

	// MediaTypes are the content types of answers, such as "text/plain" for a service that calls its JSON so.
	// Default: "application/json" and every other that ends in "+json".
	MediaTypes []string

	// MaxBody is the size of the largest answer, in bytes, unpacked. Default: 64 KiB.
	MaxBody int64

	// ResetHeader is the header field in which a 429 without Retry-After says when the quota is full again: in seconds since
	// 1970, or, below a billion, from now. Default: none.
	ResetHeader string

	// Detail returns the service's own words from the body of an error, for our error; nothing when there are none. The
	// client leaves them out when they repeat a key, an address or a URL. Default: no words.
	Detail func(body []byte) string
}

// Endpoint is where a provider asks: the service, or what stands before it.
type Endpoint struct {
	// The address of the API, for a gateway, or a stand-in in tests: what the provider adds to it is the same as with the
	// default. The key is sent there, so it should begin with `https://`. Placeholders of the global kind, such as
	// `{env.API_URL}`, are resolved when the configuration is loaded. Default: the address of the service.
	URL string `json:"url,omitempty"`

	api       API
	base      *url.URL
	transport *http.Transport
}

// Open resolves the settings and prepares the connections; it opens none. Call it in Provision. The context is used for the
// log only.
func (e *Endpoint) Open(ctx caddy.Context, api API) error {
	if err := api.complete(); err != nil {
		return err
	}
	name, address := api.Profile.Name, api.URL
	if e.URL != "" {
		var err error
		if address, err = caddy.NewReplacer().ReplaceOrErr(e.URL, true, true); err != nil {
			return fmt.Errorf("resolving the url of %s: %w", name, err)
		}
	}
	base, err := parseBase(address, api.URL)
	if err != nil {
		return fmt.Errorf("reading the url of %s: %w", name, err)
	}
	if e.URL != "" && api.Profile.Key != reputation.KeyNone && !confidential(base) {
		ctx.Slogger().Warn("the key is sent without encryption: use a url that begins with https://",
			"provider", name, "host", base.Hostname())
	}
	e.api, e.base = api, base
	e.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// The caller's context bounds every call; these two bound what a call leaves behind when it was given up.
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Without pings, a connection that a firewall silently dropped would swallow every call until TCP gives up,
		// which takes a quarter of an hour.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
	return nil
}

// Cleanup closes the idle connections. Those in use close by themselves when their call ends.
func (e *Endpoint) Cleanup() error {
	if e.transport != nil {
		e.transport.CloseIdleConnections()
	}
	return nil
}

// complete fills in the defaults and finds the mistakes of the provider's author.
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
	case !a.ClearText && !confidential(base):
		return fmt.Errorf("the provider %s is not complete: its API.URL must begin with https://", a.Profile.Name)
	}
	return nil
}

// parseBase reads the address of an API. Its errors do not repeat the address, which may hold a gateway's secret.
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

// confidential reports whether nobody between can read what is sent to base.
func confidential(base *url.URL) bool {
	addr, err := netip.ParseAddr(base.Hostname())
	return base.Scheme == "https" || base.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// Interface guards
var _ caddy.CleanerUpper = (*Endpoint)(nil)
