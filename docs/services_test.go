package docs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	servicesPage  = "sources.md"
	servicesBegin = "<!-- Made by `go test ./docs -run TestServicesTable -update`. -->\n\n"
	servicesEnd   = "<!-- end of services -->"
)

// product is a service that the table has a row for.
type product struct {
	reputation.Provider
	name string // as it is written behind `provider`
	api  string // the product of a service that has several
}

// services returns each service that the table has a row for. A service that stands for several says so by itself: see
// the method Variants.
func services(t *testing.T) (all []product) {
	t.Helper()
	for _, info := range caddy.GetModules("ip_reputation.providers") {
		service, ok := info.New().(reputation.Provider)
		if !ok {
			t.Fatalf("%s is no provider", info.ID)
		}
		several, ok := service.(interface{ Variants() []json.RawMessage })
		if !ok {
			all = append(all, product{Provider: service, name: info.ID.Name()})
			continue
		}
		for _, settings := range several.Variants() {
			variant, _ := info.New().(reputation.Provider)
			var of struct{ API string }
			if err := errors.Join(json.Unmarshal(settings, variant), json.Unmarshal(settings, &of)); err != nil {
				t.Fatalf("%s: %v", info.ID, err)
			}
			name := info.ID.Name()
			if of.API == "" { // several lists of one protocol
				name += " " + variant.Profile().Name
			}
			all = append(all, product{variant, name, of.API})
		}
	}
	return all
}

// TestServicesTable holds that sources.md says of each service what its profile says.
func TestServicesTable(t *testing.T) {
	var table strings.Builder
	table.WriteString("| service | key | default of `quota` | addresses | says | points | terms | protocol |\n|---|---|---|---|---|---|---|---|\n")
	for _, service := range services(t) {
		p := service.Profile().WithDefaults()
		name := "`" + service.name + "`"
		if service.api != "" {
			name += ", `api " + service.api + "`"
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s | %v, −%v | %s | %s |\n", name, keyUse(p.Key), orNone(strings.Join(p.Quota, " ")),
			families(p.Covers), says(p.Capabilities), p.Weight, p.GoodWeight, orNone(p.Terms), p.Protocol)
	}
	page := read(t, servicesPage)
	before, rest, begins := strings.Cut(page, servicesBegin)
	have, after, ends := strings.Cut(rest, servicesEnd)
	switch {
	case !begins || !ends:
		t.Fatalf("%s has no place for the table of services", servicesPage)
	case *update:
		if err := os.WriteFile(servicesPage, []byte(before+servicesBegin+table.String()+servicesEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	case have != table.String():
		t.Errorf("the services in %s are not those of the code: run `go test ./docs -run TestServicesTable -update`; it has\n%swant\n%s",
			servicesPage, have, table.String())
	}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func keyUse(use reputation.KeyUse) string {
	switch use {
	case reputation.KeyNone:
		return "none"
	case reputation.KeyOptional:
		return "optional"
	}
	return "required"
}

func families(f reputation.Families) string {
	switch f {
	case reputation.IPv4:
		return "IPv4"
	case reputation.IPv6:
		return "IPv6"
	}
	return "IPv4, IPv6"
}

// says lists what reports can contain.
func says(c reputation.Capabilities) string {
	if !c.Declared() {
		return "anything"
	}
	var words []string
	for category := range c.Categories.All() {
		words = append(words, "`"+category.String()+"`")
	}
	if c.Country {
		words = append(words, "country")
	}
	if c.ASN {
		words = append(words, "ASN")
	}
	var natures []string
	for _, kind := range reputation.AllKinds() {
		if c.Natures.Has(kind) {
			natures = append(natures, "`"+kind.String()+"`")
		}
	}
	if natures != nil {
		words = append(words, "nature "+strings.Join(natures, ", "))
	}
	return strings.Join(words, ", ")
}
