package handler

import (
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// TestClassE proves that an address of 240.0.0.0/4 is exempt unless a trusted proxy names it.
func TestClassE(t *testing.T) {
	ctx := testContext(t)
	h := loadHandler(t, ctx, object{})
	for _, tc := range []struct {
		client  string
		trusted bool
		want    string
	}{
		{"240.1.2.3", false, "exempt"}, {"240.1.2.3", true, "unknown"},
		{"255.255.255.255", true, "exempt"}, {"10.0.0.1", true, "exempt"}, {cleanAddr, true, "fresh"},
	} {
		r := prepared(t, tc.client)()
		request.VarsOf(r)[caddyhttp.TrustedProxyVarKey] = tc.trusted
		if got := serve(h, r).app.Get(headerStatus); got != tc.want {
			t.Errorf("%s, from a trusted proxy %t: %s, want %s", tc.client, tc.trusted, got, tc.want)
		}
	}
}
