package handler

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// refuse answers a request that the site does not want.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, v *visit, left limit.Decision) error {
	v.refused = true
	d := &v.decision
	var reason error
	switch {
	case v.known != nil:
		reason = fmt.Errorf("%w, request %s", errEarly, v.requestID)
	case d.action == reputation.Drop:
		// The server reads the rest of the body before it closes a connection, for as long as the client takes. In
		// HTTP/2 and HTTP/3, the deadline is the stream's.
		_ = http.NewResponseController(w).SetReadDeadline(longAgo)
		panic(http.ErrAbortHandler) // the server's own way to close a connection without an answer
	case d.action == reputation.Limit:
		d.rule.limit.describe(w.Header(), left)
		reason = fmt.Errorf("limited by IP reputation, request %s", v.requestID)
	default:
		reason = fmt.Errorf("%s, request %s", request.BlockedText, v.requestID)
	}
	failure := caddyhttp.Error(int(d.statusCode), reason)
	if h.ownErrors || hasErrorPage(r, failure) {
		forbidStorage(w.Header(), true)
		delete(w.Header(), cacheControl) // no handler in front reads it any more, and the second spelling is enough
		return failure
	}
	return newPage(v, left).write(w, r)
}

var longAgo = time.Unix(1, 0)

var errEarly = errors.New("the client's address cannot be verified before the TLS handshake is complete")

// forbidStorage keeps caches from storing a refusal, which is for one client. Where others may still write `header
// Cache-Control`, the field is there in a second spelling, which theirs does not replace: caches read both as one list,
// in which no-store prevails.
func forbidStorage(h http.Header, othersWrite bool) {
	const second = "cache-control"
	h[cacheControl] = []string{"no-store"}
	if delete(h, second); othersWrite {
		h[second] = []string{"no-store"}
	}
}

const cacheControl = "Cache-Control"

// othersWrite reports whether handlers of the site stand between a response and the server. What Caddy's server itself
// puts there only counts and times.
func othersWrite(w http.ResponseWriter) bool {
	for {
		inner, wraps := w.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			return false
		}
		if _, ours := w.(*identified); !ours && !strings.HasPrefix(reflect.TypeOf(w).String(), "*caddyhttp.") {
			return true
		}
		w = inner.Unwrap()
	}
}

// insideErrorRoutes reports whether one of the modules around a handler answers its errors.
func insideErrorRoutes(around []caddy.Module) bool {
	return slices.ContainsFunc(around, func(m caddy.Module) bool {
		subroute, ok := m.(*caddyhttp.Subroute)
		return ok && subroute.Errors != nil
	})
}

// hasErrorPage reports whether the server's error routes, which are those of all its sites, answer an error of this
// request. Caddy would send an empty page otherwise.
func hasErrorPage(r *http.Request, failure error) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.Errors == nil || len(server.Errors.Routes) == 0 {
		return false
	}
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return true
	}
	failed := *server.Errors.WithError(r, failure) // with which the server begins error routes
	failed.Method, failed.RequestURI, failed.RemoteAddr = original.Method, original.RequestURI, original.RemoteAddr
	failed.URL = new(url.URL)
	*failed.URL = *original.URL
	return answers(server.Errors.Routes, &failed)
}

// answers reports whether one of the routes applies to the request and has a handler that may answer it.
func answers(routes caddyhttp.RouteList, r *http.Request) bool {
	for i := range routes {
		applies, err := routes[i].MatcherSets.AnyMatchWithError(r)
		if err != nil {
			return true // the error is for the server to handle
		}
		if !applies {
			continue
		}
		for _, handler := range routes[i].Handlers {
			switch handler := handler.(type) {
			case *Handler: // only describes
			case *caddyhttp.Subroute:
				if answers(handler.Routes, r) {
					return true
				}
			default:
				return true
			}
		}
		if routes[i].Terminal {
			return false
		}
	}
	return false
}
