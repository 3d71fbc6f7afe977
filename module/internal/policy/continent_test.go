package policy

import (
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// assigned are the codes that ISO 3166-1 assigns, and XK, which databases use for Kosovo.
const assigned = "" +
	"AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT " +
	"BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH " +
	"ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT " +
	"HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS " +
	"LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI " +
	"NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG " +
	"SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG " +
	"UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW " +
	"XK"

// TestEveryCountryIsOnOneContinent: each code is named once, and no other code is.
func TestEveryCountryIsOnOneContinent(t *testing.T) {
	named := make(map[string]string)
	for _, c := range continents {
		for country := range strings.FieldsSeq(c.countries) {
			if named[country] != "" {
				t.Errorf("%s is on %s and on %s", country, named[country], c.code)
			}
			named[country] = c.code
		}
	}
	for country := range strings.FieldsSeq(assigned) {
		if named[country] == "" {
			t.Errorf("%s is on no continent", country)
		}
		delete(named, country)
	}
	if len(named) > 0 {
		t.Errorf("%v are not assigned", named)
	}
}

func TestContinent(t *testing.T) {
	for _, c := range []struct {
		continents string
		country    string
		want       bool
	}{
		{"EU", "DE", true},
		{"eu", "DE", true},
		{"EU", "US", false},
		{"AF,AS", "JP", true},
		{"AF,AS", "ZA", true},
		{"AF,AS", "BR", false},
		{"OC", "AS", true}, // American Samoa, not Asia
		{"AN", "AQ", true},
		{"EU", "XK", true},
		{"AF,AN,AS,EU,NA,OC,SA", "", false}, // unknown
		{"AF,AN,AS,EU,NA,OC,SA", "ZZ", false},
		{"AF,AN,AS,EU,NA,OC,SA", "D\xff", false},
	} {
		conditions := compile(t, Config{Continent: strings.Split(c.continents, ",")})
		v := reputation.Verdict{Facts: reputation.Facts{Country: c.country}}
		if got := conditions.Match(&v, client); got != c.want {
			t.Errorf("continent %s of %q: %v, want %v", c.continents, c.country, got, c.want)
		}
	}
}
