package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// A publisher may redirect to another host, such as a content network. It may not have this process call a machine that
// only this network reaches, nor get a credential sent to somebody else.

const maxRedirects = 5

var errInside = errors.New("it leads to a private or reserved address")

// refuseInside is called with each address before it is dialled, so that no name can lead to one that is inside.
func (c *Client) refuseInside(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || c.inside(addr.Addr().Unmap().WithZone("")) {
		return errInside
	}
	return nil
}

// do sends a request to a configured URL and follows redirects.
func (c *Client) do(req *http.Request, credentials bool) (*http.Response, error) {
	j := &journey{Client: c, start: req.URL, credentials: credentials}
	client := &http.Client{Transport: j, CheckRedirect: j.check}
	return client.Do(req) //nolint:gosec // the operator wrote the URL, and check and RoundTrip guard where it leads
}

// journey is one request on its way over redirects.
type journey struct {
	*Client
	start       *url.URL
	credentials bool // the request holds some, so that it goes to one host only
	fromInside  bool // the configured URL is inside itself
}

// RoundTrip implements http.RoundTripper.
func (j *journey) RoundTrip(req *http.Request) (*http.Response, error) {
	switch proxy, _ := http.ProxyFromEnvironment(req); {
	case req.Response == nil && proxy == nil: // no redirect has led here
		ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: j.connected})
		return j.configured.RoundTrip(req.WithContext(ctx))
	case req.Response == nil, j.fromInside, req.URL.Host == j.start.Host:
		return j.configured.RoundTrip(req)
	case proxy != nil: // it resolves names, and is probably inside itself
		if addr, err := netip.ParseAddr(req.URL.Hostname()); err == nil && j.inside(addr.Unmap().WithZone("")) {
			return nil, j.refuse(j.start, req.URL, errInside.Error())
		}
		return j.configured.RoundTrip(req)
	}
	resp, err := j.elsewhere.RoundTrip(req)
	if errors.Is(err, errInside) {
		return nil, j.refuse(j.start, req.URL, errInside.Error())
	}
	return resp, err
}

func (j *journey) connected(info httptrace.GotConnInfo) {
	addr, err := netip.ParseAddrPort(info.Conn.RemoteAddr().String())
	j.fromInside = err == nil && j.inside(addr.Addr().Unmap().WithZone(""))
}

// check allows a redirect, or returns why not. It implements http.Client.CheckRedirect.
func (j *journey) check(next *http.Request, via []*http.Request) error {
	next.Header.Del("Referer") // its query may hold a key
	from, to := via[len(via)-1].URL, next.URL
	sameHost := to.Host == from.Host || from.Scheme == "http" && to.Scheme == "https" && to.Hostname() == from.Hostname()
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case to.Scheme != "https" && (to.Scheme != "http" || from.Scheme != "http"):
		return j.refuse(from, to, "the scheme must be https, or that of before")
	case !sameHost && j.credentials:
		return j.refuse(from, to, "headers may be secret, so that they go to one host only")
	}
	return nil
}

func (j *journey) refuse(from, to *url.URL, why string) error {
	return fmt.Errorf("refused a redirect from %s://%s to %s://%.80s: %s; if the list has moved, write its new URL "+
		"in place of that on %s; curl -sI shows it", from.Scheme, from.Host, to.Scheme, to.Host, why, j.start.Host)
}

// holdsCredentials reports whether a request may hold a secret that another host must not see. Headers that
// select what the publisher sends hold none.
func (d *Document) holdsCredentials(at *url.URL) bool {
	for name := range d.Header {
		if !strings.HasPrefix(http.CanonicalHeaderKey(name), "Accept") {
			return true
		}
	}
	return at.User != nil
}
