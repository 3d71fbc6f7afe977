package routes

import (
	"net/netip"
	"reflect"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TrustedProxies returns the ranges that `trusted_proxies static` of any server names. Ranges that a module fetches are
// not known here.
func TrustedProxies(servers map[string]*caddyhttp.Server) (ranges []netip.Prefix) {
	for _, server := range servers {
		source := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
		if source.Kind() != reflect.Interface || source.IsNil() ||
			source.Elem().Type() != reflect.TypeFor[*caddyhttp.StaticIPRange]() {
			continue
		}
		texts := source.Elem().Elem().FieldByName("Ranges")
		for i := range texts.Len() {
			if p, err := caddyhttp.CIDRExpressionToPrefix(texts.Index(i).String()); err == nil {
				ranges = append(ranges, p)
			}
		}
	}
	return ranges
}
