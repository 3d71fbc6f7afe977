package dnsbl

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/miekg/dns"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxWeight keeps a list from convicting anybody alone: a listing beyond doubt is a score of 80.
const maxWeight = 26

// maxZone leaves room for the labels of an IPv6 address and a key in a name of 253 characters.
const maxZone = 120

// chosen returns the list that the settings name, with what they change of it.
func (d *DNSBL) chosen() (list, error) {
	l, err := d.named()
	if err != nil {
		return list{}, err
	}
	if l.codes, err = d.codes(&l); err != nil {
		return list{}, err
	}
	switch {
	case !(d.Weight >= 0 && d.Weight <= maxWeight): // written so that NaN is refused
		return list{}, fmt.Errorf("weight %v is out of range: use above 0 to %d points: one DNS list is no proof",
			d.Weight, maxWeight)
	case d.Weight > 0:
		l.weight = d.Weight
	}
	if d.Group != "" {
		if !reputation.ValidName(d.Group) {
			return list{}, fmt.Errorf("group %q: use at most 64 lower-case letters, digits, _ and -, the first a letter",
				d.Group)
		}
		l.group = d.Group
	}
	if d.IPv6 != nil {
		if *d.IPv6 && l.read != nil {
			return list{}, fmt.Errorf("%s has no IPv6 addresses: remove ipv6", l.name)
		}
		l.ipv6 = *d.IPv6
	}
	if l.tests == nil {
		l.tests = rfc5782(l.ipv6)
	}
	if !l.ipv6 {
		l.tests = slices.DeleteFunc(slices.Clone(l.tests), func(t test) bool { return strings.Contains(t.address, ":") })
	}
	if d.Test != nil && !*d.Test {
		l.tests = nil
	}
	return l, nil
}

// named returns the preset, or what holds for the zone of that name.
func (d *DNSBL) named() (list, error) {
	zone := strings.ToLower(strings.TrimSuffix(d.List, "."))
	for word, l := range presets {
		if zone == word || zone == strings.TrimPrefix(l.question, "{address}.") {
			if len(d.Category) > 0 {
				return list{}, fmt.Errorf("%s has categories of its own: remove category, "+
					"or say what single codes mean by code", word)
			}
			l.name = word
			return l, nil
		}
	}
	if err := checkZone(zone); err != nil {
		return list{}, err
	}
	if strings.HasSuffix(zone, ".spamhaus.org") {
		if len(d.Category) > 0 {
			return list{}, errors.New("the codes of Spamhaus have categories of their own: remove category, " +
				"or say what single codes mean by code")
		}
		return spamhausPart(zone), nil
	}
	categories, err := parse(d.Category)
	if err != nil {
		return list{}, err
	}
	if len(categories) == 0 {
		categories = []reputation.Category{reputation.Abuse}
	}
	l := list{
		name: sourceName(zone), question: "{address}." + zone,
		weight: 16, trust: mailTrust, group: "dnsbl", absent: notListed,
	}
	if len(d.Codes) == 0 {
		other := meaningOf(categories)
		l.other = &other
	} else if len(d.Category) > 0 {
		return list{}, errors.New("category and code contradict each other: with code, each code has a category of its own")
	}
	return l, nil
}

func parse(words []string) ([]reputation.Category, error) {
	var list []reputation.Category
	for _, word := range words {
		c, err := reputation.ParseCategory(word)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// codes returns the meanings of codes, those of the settings first.
func (d *DNSBL) codes(l *list) (map[code]meaning, error) {
	if len(d.Codes) == 0 {
		return l.codes, nil
	}
	if l.read != nil {
		return nil, fmt.Errorf("the answers of %s are numbers, not codes: remove code", l.name)
	}
	codes := maps.Clone(l.codes)
	if codes == nil {
		codes = make(map[code]meaning)
	}
	for text, word := range d.Codes {
		c, err := parseCode(text)
		if err != nil {
			return nil, err
		}
		category, err := reputation.ParseCategory(word)
		if err != nil {
			return nil, err
		}
		codes[c] = meaningOf([]reputation.Category{category})
	}
	return codes, nil
}

func parseCode(text string) (code, error) {
	addr, err := netip.ParseAddr(text)
	if err == nil && addr.Is4() && checkCodes([]code{addr.As4()}) == nil {
		return addr.As4(), nil
	}
	return code{}, fmt.Errorf("code %q is no code of a list: use an address such as 127.0.0.4, "+
		"but not 127.0.0.1 or one of 127.255.255.0/24, by which lists refuse", text)
}

// checkZone returns an error unless the zone can be asked. It repeats no name that may have a key in it.
func checkZone(zone string) error {
	for _, owner := range []struct{ suffix, word string }{
		{".dq.spamhaus.net", "dqs"}, {".dnsbl.httpbl.org", "httpbl"},
	} {
		label, isKeyed := strings.CutSuffix(strings.TrimRight(zone, "."), owner.suffix)
		if isKeyed && !strings.Contains(label, "{key}") {
			return fmt.Errorf("a key in a name would be shown in logs and in the configuration: write `provider dnsbl %s`, "+
				"and the key by `key`", owner.word)
		}
	}
	name, keyed := strings.CutPrefix(zone, "{key}.")
	labels, valid := dns.IsDomainName(name)
	valid = valid && !strings.HasSuffix(name, ".")
	for _, c := range []byte(name) {
		valid = valid && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	_, err := netip.ParseAddr(name)
	switch {
	case zone == "":
		return fmt.Errorf("no list is named: %s", howToName())
	case labels < 2 && !keyed || err == nil || !valid || len(name) > maxZone:
		return fmt.Errorf("unknown list %q: %s", zone, howToName())
	}
	return nil
}

func howToName() string {
	return fmt.Sprintf("use one of %s, or the name of a zone such as bl.example.org", strings.Join(words(), ", "))
}

// sourceName makes a source's name of a zone's.
func sourceName(zone string) string {
	name := strings.NewReplacer("{key}.", "", ".", "_").Replace(zone)
	if name[0] < 'a' || name[0] > 'z' {
		name = "dnsbl_" + name
	}
	return name[:min(len(name), 64)]
}

// UnmarshalCaddyfile reads the options that only this provider has. The caller has removed those
// that all providers have, such as key and trust.
//
//	dnsbl <preset>|<zone> {
//	    resolver <address>[:<port>]...
//	    category <category>...
//	    code     <code> <category>
//	    weight   <points>
//	    group    <name>
//	    ipv6     on|off
//	    test     on|off
//	}
func (d *DNSBL) UnmarshalCaddyfile(disp *caddyfile.Dispenser) error {
	disp.Next() // the provider's name
	if !disp.NextArg() {
		return disp.Errf("dnsbl needs the name of a list: %s", howToName())
	}
	line := *disp
	d.List = disp.Val()
	err := option.Block{Name: "dnsbl", Reword: reword, Options: []option.Option{
		option.Repeated("resolver",
			option.List(&d.Resolvers, "an address such as 127.0.0.1 or [::1]:5353"), d.checkResolvers),
		option.Once("category", option.Words(&d.Category, "categories such as spam", reputation.ParseCategory)),
		option.Repeated("code", d.code),
		option.Once("weight",
			option.Value(&d.Weight, fmt.Sprintf("a number of points above 0 to %d", maxWeight), parseWeight)),
		option.Once("group", option.Text(&d.Group, "the name of a group")),
		option.Once("ipv6", option.Switch(&d.IPv6)),
		option.Once("test", option.Switch(&d.Test)),
	}}.Read(disp)
	if err != nil {
		return err
	}
	if _, err := d.chosen(); err != nil {
		return line.WrapErr(err)
	}
	return nil
}

func reword(m option.LineError) string {
	if m.Kind == option.Argument {
		return fmt.Sprintf("unexpected '%s' after the name of a list: write a `provider dnsbl` for each list, "+
			"and options into a block", m.Value)
	}
	return ""
}

// code reads what one code means.
func (d *DNSBL) code(disp *caddyfile.Dispenser) error {
	var text, word string
	if err := option.Values("a code and a category, such as 127.0.0.4 bruteforce", &text, &word)(disp); err != nil {
		return err
	}
	if _, twice := d.Codes[text]; twice {
		return disp.Errf("code %s is given twice: remove one", text)
	}
	if _, err := parseCode(text); err != nil {
		return disp.WrapErr(err)
	}
	if _, err := reputation.ParseCategory(word); err != nil {
		return disp.WrapErr(err)
	}
	if d.Codes == nil {
		d.Codes = make(map[string]string)
	}
	d.Codes[text] = word
	return nil
}

func parseWeight(text string) (float64, bool) {
	w, err := strconv.ParseFloat(text, 64)
	return w, err == nil && w > 0 && w <= maxWeight
}

// checkResolvers returns an error for a resolver that cannot be one. Placeholders are resolved later.
func (d *DNSBL) checkResolvers() error {
	if len(d.Resolvers) > maxResolvers {
		return fmt.Errorf("%d resolvers are too many: name at most %d", len(d.Resolvers), maxResolvers)
	}
	for _, text := range d.Resolvers {
		if strings.Contains(text, "{") {
			continue
		}
		if _, err := parseResolver(text); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*DNSBL)(nil)
