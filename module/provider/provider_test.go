package provider

import (
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// someService is a service by its ID alone.
type someService struct{}

func (someService) Profile() reputation.Profile { return reputation.Profile{Name: "some"} }

func (someService) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation.providers.some", New: func() caddy.Module { return new(someService) }}
}

// Two providers of one service are one witness.
func TestTwoProvidersOfOneServiceShareAGroup(t *testing.T) {
	service := someService{}
	for _, name := range []string{"one", "two"} {
		source, err := (&Provider{}).source(name, service.Profile())
		if err != nil || source.Name != name || source.Group != "some" {
			t.Errorf("got %+v, %v", source, err)
		}
	}
}
