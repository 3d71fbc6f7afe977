package httpjson

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Map is Check without the request.
func Map(ctx context.Context, h *HTTPJSON, status int, body []byte, addr netip.Addr) (reputation.Report, error) {
	var value any
	if err := rest.Decode(body, &value); err != nil {
		return reputation.Report{}, err
	}
	a := &rest.Response{Status: status, Header: http.Header{}}
	return h.mapping.report(ctx, variables(value, a, addr, time.Unix(1790000000, 0)), a, addr)
}

// Target returns the URL of a question.
func Target(h *HTTPJSON, q reputation.Query) (*url.URL, error) {
	r := h.request.of(q)
	return h.endpoint.Target(&r)
}
