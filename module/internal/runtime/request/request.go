// Package request knows the request that work is done for: its client, its ID in the log, and the spans of its trace.
package request

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// VisitKey is the name of the request's variable in which a handler or matcher leaves what it knows of the request, for
// those that follow. Its value has the method `RequestID() string`.
const VisitKey = "ip_reputation_visit"

// BlockedText begins the error that a block returns. No operator must act on it.
const BlockedText = "blocked by IP reputation"

// idKey is the key of the correlation ID in the context of work that outlives the request which started it.
type idKey struct{}

// WithID returns a context in which IDOf finds the ID.
func WithID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, idKey{}, id)
}

// IDOf returns the correlation ID of the request that ctx belongs to, or that started the work which
// ctx belongs to. It is empty for what no request has started.
func IDOf(ctx context.Context) string {
	if id, ok := ctx.Value(idKey{}).(string); ok {
		return id
	}
	known, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	if v, ok := known[VisitKey].(interface{ RequestID() string }); ok {
		if id := v.RequestID(); WellFormedID(id) { // other modules can set variables, too
			return id
		}
	}
	return ""
}

// ID returns the correlation ID of a request: the one it came with, if a trusted proxy vouches for it and it is
// well-formed, else a new one.
func ID(r *http.Request, vars Vars) string {
	if values := r.Header["X-Request-Id"]; len(values) == 1 && WellFormedID(values[0]) && vars.FromTrustedProxy() {
		return values[0]
	}
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], rand.Uint64())
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64())
	var text [32]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// maxID is the length of the longest inbound correlation ID that is taken over.
const maxID = 128

// WellFormedID reports whether a correlation ID can go into headers and logs as it is.
func WellFormedID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-_.:/+=@~", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Vars are the variables of a request. They are looked up once: each search walks the whole chain of contexts.
type Vars map[string]any

// VarsOf returns the variables of a request.
func VarsOf(r *http.Request) Vars {
	v, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	return v
}

// Client returns the address that Caddy found the request to come from, unmapped and without zone. A NAT64 address
// is the IPv4 address that it stands for: n has the prefixes of the network, besides the well-known one. It is the zero
// address when there is none, as for a client on a unix socket.
//
// No header is read here: which of them may be believed is for the server's `trusted_proxies` to say.
func (v Vars) Client(n address.NAT64) netip.Addr {
	text, ok := v[caddyhttp.ClientIPVarKey].(string)
	if !ok {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return n.Unmap(addr.WithZone(""))
}

// FromTrustedProxy reports whether the request was handed on by a proxy that the server trusts.
func (v Vars) FromTrustedProxy() bool {
	trusted, _ := v[caddyhttp.TrustedProxyVarKey].(bool)
	return trusted
}
