package provider

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// someService is a service by its ID alone.
type someService struct{}

func (someService) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation.providers.some", New: func() caddy.Module { return new(someService) }}
}

// Two providers of one service are one witness.
func TestTwoProvidersOfOneServiceShareAGroup(t *testing.T) {
	service := someService{}
	for _, name := range []string{"one", "two"} {
		source, err := (&Provider{}).source(name, service)
		if err != nil || source.Name != name || source.Group != "some" {
			t.Errorf("got %+v, %v", source, err)
		}
	}
}
