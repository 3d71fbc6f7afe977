// Package abuseipdb asks AbuseIPDB, where administrators report addresses that attacked them, how sure it is that an
// address is abusive (API v2, https://docs.abuseipdb.com/#check-endpoint).
package abuseipdb

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL        = "https://api.abuseipdb.com/api/v2"
	defaultMaxAgeDays = 30

	// The bounds that the service documents for maxAgeInDays.
	minMaxAgeDays, maxMaxAgeDays = 1, 365

	// userAgent carries no version: the service has no use for it, and it would tell whom to attack.
	userAgent = "caddy-ip-reputation"

	// An answer has about 600 bytes; what is much longer was not written by the service.
	maxBody   = 64 << 10
	maxHeader = 64 << 10
)

func init() {
	caddy.RegisterModule(AbuseIPDB{})
}

// AbuseIPDB asks the service of the same name about addresses. It needs an API key; the free plan allows 1,000
// questions a day.
//
// The service's score says how bad an address is, the number of different reporters how much stands behind it: one
// reporter weighs little, twenty weigh nearly fully. An address that was never reported, or that the service has
// whitelisted, gets the small good weight of the source. A score of 0 in spite of reports is no statement.
type AbuseIPDB struct {
	// The address of the API, up to and without `/check`: for a gateway, or a stand-in in tests. The key is sent there,
	// so it should begin with `https://`. Placeholders of the global kind, such as `{env.ABUSEIPDB_URL}`, are resolved
	// when the configuration is loaded. Default: `https://api.abuseipdb.com/api/v2`.
	URL string `json:"url,omitempty"`

	// How many days back reports count, from 1 to 365. More days bring more reports, but addresses change hands, and
	// their new owners pay for the old ones. Default: 30.
	MaxAgeDays int `json:"max_age_days,omitempty"`

	base      *url.URL
	transport *http.Transport
}

// CaddyModule returns the Caddy module information.
func (AbuseIPDB) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.abuseipdb",
		New: func() caddy.Module { return new(AbuseIPDB) },
	}
}

// Provision sets the defaults and prepares the connections. It opens none.
func (a *AbuseIPDB) Provision(ctx caddy.Context) error {
	if a.MaxAgeDays == 0 {
		a.MaxAgeDays = defaultMaxAgeDays
	}
	address := defaultURL
	if a.URL != "" {
		var err error
		if address, err = caddy.NewReplacer().ReplaceOrErr(a.URL, true, true); err != nil {
			return fmt.Errorf("resolving the url of abuseipdb: %w", err)
		}
	}
	base, err := parseBase(address)
	if err != nil {
		return fmt.Errorf("reading the url of abuseipdb: %w", err)
	}
	a.base = base
	if base.Scheme == "http" && !isLoopback(base.Hostname()) {
		ctx.Slogger().Warn("the key of abuseipdb is sent without encryption: use a url that begins with https://",
			"host", base.Hostname())
	}
	a.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// The caller's context bounds every call; these two bound what a call leaves behind when it has given up.
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

// Validate checks the settings' ranges.
func (a *AbuseIPDB) Validate() error {
	return checkMaxAge(a.MaxAgeDays)
}

// Cleanup closes the idle connections. Those in use close by themselves when their call ends.
func (a *AbuseIPDB) Cleanup() error {
	if a.transport != nil {
		a.transport.CloseIdleConnections()
	}
	return nil
}

// Terms returns what holds for the service unless the operator sets something else: the quota of the free plan, and how
// long an answer is used for addresses with and without reports. AbuseIPDB counts by the UTC day, for each account.
func (*AbuseIPDB) Terms() (quota []string, listed, clean time.Duration) {
	return []string{"1000/day"}, 6 * time.Hour, 24 * time.Hour
}

// UnmarshalCaddyfile reads the options that only this provider has. The ones that all providers have (key, quota, …) are
// not among the tokens.
//
//	abuseipdb {
//	    url     <address>
//	    max_age <days>
//	}
func (a *AbuseIPDB) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Block{Name: "abuseipdb", Reword: reword, Options: []option.Option{
		option.Once("url", option.Text(&a.URL, defaultURL)),
		// any number: checkMaxAge has the range, and the JSON's words for it
		option.Once("max_age", option.Number(&a.MaxAgeDays, "30", math.MinInt),
			func() error { return checkMaxAge(a.MaxAgeDays) }),
	}}.Read(d)
}

func reword(m option.LineError) string {
	switch m.Kind {
	case option.Argument:
		return fmt.Sprintf("unexpected argument '%s' after abuseipdb: put options into a block, such as { max_age 30 }", m.Value)
	case option.Unknown:
		return fmt.Sprintf("unknown option '%s': abuseipdb has url and max_age, besides those that every provider has", m.Word)
	case option.NoBlock:
		return fmt.Sprintf("unknown option '{': %s of abuseipdb takes no block", m.Word)
	case option.Duplicate:
		return m.Word + " is set twice for abuseipdb: remove one"
	case option.Count:
		return fmt.Sprintf("%s of abuseipdb takes exactly one value, such as %s", m.Word, m.Want)
	case option.Empty:
		return fmt.Sprintf("the %s of abuseipdb is empty: remove it, or write it like %s", m.Word, m.Want)
	case option.Malformed:
		return fmt.Sprintf("max_age '%s' of abuseipdb is no number of days: use a whole number from %d to %d",
			m.Value, minMaxAgeDays, maxMaxAgeDays)
	}
	return ""
}

func checkMaxAge(days int) error {
	if days < minMaxAgeDays || days > maxMaxAgeDays {
		return fmt.Errorf("the max_age of abuseipdb is %d days: it must be from %d to %d", days, minMaxAgeDays, maxMaxAgeDays)
	}
	return nil
}

// parseBase reads the address of the API. Its errors do not repeat the address, which may hold a gateway's secret.
func parseBase(address string) (*url.URL, error) {
	base, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("not a URL: use one like %s", defaultURL)
	case base.Scheme != "https" && base.Scheme != "http":
		return nil, fmt.Errorf("its scheme is %q: use one that begins with https://", base.Scheme)
	case base.Hostname() == "":
		return nil, fmt.Errorf("it names no host: use one like %s", defaultURL)
	case base.User != nil:
		return nil, errors.New("it holds a user name: the service takes its key from the key option only")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("it holds a query or a fragment: end it before '?' or '#'")
	}
	return base, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Interface guards
var (
	_ caddy.Provisioner     = (*AbuseIPDB)(nil)
	_ caddy.Validator       = (*AbuseIPDB)(nil)
	_ caddy.CleanerUpper    = (*AbuseIPDB)(nil)
	_ caddyfile.Unmarshaler = (*AbuseIPDB)(nil)
	_ reputation.Provider   = (*AbuseIPDB)(nil)
)
