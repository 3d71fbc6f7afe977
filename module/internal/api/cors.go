package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/cors"
)

// preflightAge is how long a browser may cache a preflight, in seconds.
const preflightAge = 600

// CheckOrigin returns an error unless text is an origin as browsers send it. It refuses `*` and
// `null`, which match sites that are not named.
func CheckOrigin(text string) error {
	const cure = "write each origin in full, such as https://intel.example.com"
	switch {
	case text == "null":
		return fmt.Errorf("origin null is what any page can be given: %s", cure)
	case strings.Contains(text, "*"):
		return fmt.Errorf("origin %q stands for sites that are not named: %s", text, cure)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return fmt.Errorf("origin %q is none: %s", text, cure)
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || strings.HasSuffix(text, "#"):
		return fmt.Errorf("origin %q has more than scheme, host and port: write %s://%s", text, u.Scheme, strings.ToLower(u.Host))
	case u.User != nil:
		return fmt.Errorf("origin %q holds a user: %s", text, cure)
	case text != strings.ToLower(text):
		return fmt.Errorf("origin %q is not in lower case, as browsers send it: write %s", text, strings.ToLower(text))
	case text != u.Scheme+"://"+u.Host, !isHost(u.Hostname()), !isPort(u.Host):
		return fmt.Errorf("origin %q is not as browsers send it: %s", text, cure)
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		return fmt.Errorf("origin %q names the usual port, which browsers leave out: write %s://%s", text, u.Scheme, u.Hostname())
	}
	return nil
}

// isHost reports whether host is an ASCII name or an address.
func isHost(host string) bool {
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.Zone() == "" && addr.String() == host
	}
	for _, c := range []byte(host) {
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// isPort reports whether host has no port, or a port as browsers write it.
func isPort(host string) bool {
	_, port, ok := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":")
	if !ok {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}

// newCORS lets scripts of the origins read the answers. Scripts send the token themselves, so
// browsers need not send credentials.
func newCORS(origins []string) *cors.Cors {
	if len(origins) == 0 {
		return nil
	}
	return cors.New(cors.Options{
		// exact: the library's own list of origins allows patterns
		AllowOriginFunc: func(origin string) bool { return slices.Contains(origins, origin) },

		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost},
		AllowedHeaders: []string{"Authorization", "Content-Type", "If-None-Match", "X-Request-ID"},
		ExposedHeaders: []string{"ETag", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-ID"},
		MaxAge:         preflightAge,
	})
}

// isPreflight reports whether a request is a CORS preflight, by the same rule as the library.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}
