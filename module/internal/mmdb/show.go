package mmdb

import (
	"context"
	"net/netip"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Shown is what a file says of itself and of one address.
type Shown struct {
	File      string    `json:"file"`
	Type      string    `json:"type"`
	Built     time.Time `json:"built,omitzero"`
	IPVersion uint      `json:"ip_version"` // 4: it has no IPv6 addresses
	Networks  int       `json:"networks,omitempty"`
	Says      []string  `json:"says,omitempty"` // the facts that are somewhere in it

	// Problem is why the file cannot be used, missing if it can.
	Problem string `json:"problem,omitempty"`

	Address netip.Addr    `json:"address"`
	Network *netip.Prefix `json:"network,omitempty"` // missing if there is no record
	Record  any           `json:"record,omitempty"`  // of names in several languages, those in English
	Facts   []ShownFact   `json:"facts"`
}

// ShownFact is a fact of the address, and the field that it was taken from.
type ShownFact struct {
	Fact  string `json:"fact"`
	Value any    `json:"value"`
	Field string `json:"field"`
}

// Show reads a file, and looks an address up in it. A file in the right format is shown even if its
// fields are not known.
func Show(ctx context.Context, path string, own []Path, addr netip.Addr) (Shown, error) {
	s := Shown{File: path, Address: addr, Facts: []ShownFact{}}
	data, _, err := readFile(path)
	if err != nil {
		return s, err
	}
	file, err := maxminddb.OpenBytes(data)
	if err != nil {
		return s, damaged(err)
	}
	b := newBuilder(file, own)
	s.Type, s.Built, s.IPVersion = b.kind, b.built, file.Metadata.IPVersion
	if c, err := parse(ctx, data, own); err != nil {
		s.Problem = err.Error()
	} else {
		s.Networks, s.Says = c.networks, wordsOf(c.says)
	}
	if addr.Is6() && s.IPVersion == 4 {
		return s, nil
	}
	result := file.Lookup(addr)
	if result.Err() != nil || !result.Found() {
		return s, result.Err()
	}
	network := result.Prefix()
	s.Network = &network
	if err := result.Decode(&s.Record); err != nil {
		return s, damaged(err)
	}
	s.Record = withoutLanguages(s.Record)
	b.record.found.paths = make(map[string]string)
	if err := result.Decode(&b.record); err != nil {
		return s, damaged(err)
	}
	s.Facts = b.record.found.shown()
	return s, nil
}

// shown returns the facts with their fields.
func (f *found) shown() []ShownFact {
	facts := []ShownFact{}
	add := func(fact string, value any) {
		if field, found := f.paths[fact]; found {
			facts = append(facts, ShownFact{fact, value, field})
		}
	}
	add(factCountry, f.country)
	add(factASN, f.asn)
	if f.asn != 0 {
		add(factASName, f.name)
	}
	for _, k := range reputation.AllKinds() {
		is, _ := f.nature.Is(k)
		add(k.String(), is)
	}
	return facts
}

// withoutLanguages leaves out names in other languages than English, of which there are many.
func withoutLanguages(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			if names, isMap := field.(map[string]any); isMap && name == "names" && names["en"] != nil {
				v[name] = map[string]any{"en": names["en"]}
				continue
			}
			v[name] = withoutLanguages(field)
		}
	case []any:
		for i := range v {
			v[i] = withoutLanguages(v[i])
		}
	}
	return v
}
