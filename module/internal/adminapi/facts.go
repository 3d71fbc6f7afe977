package adminapi

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// CategoryWords returns the words of categories.
func CategoryWords(set reputation.Categories) []string {
	list := []string{}
	for c := range set.All() {
		list = append(list, c.String())
	}
	return list
}

// FactsOf returns facts as they stand in answers.
func FactsOf(f reputation.Facts) Facts {
	x := Facts{Country: f.Country, ASN: f.ASN, ASName: f.ASName, Bot: f.Bot}
	if f.Network.IsValid() {
		x.Network = f.Network.String()
	}
	for _, kind := range reputation.AllKinds() {
		if is, known := f.Nature.Is(kind); known {
			if x.Nature == nil {
				x.Nature = map[string]bool{}
			}
			x.Nature[kind.String()] = is
		}
	}
	return x
}
