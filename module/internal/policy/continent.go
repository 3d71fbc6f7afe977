package policy

import (
	"fmt"
	"slices"
	"strings"
)

// continents has the countries of each continent, by their ISO 3166-1 alpha-2 codes. ISO assigns no
// continents. These are GeoNames' (https://download.geonames.org/export/dump/countryInfo.txt), which
// MaxMind's databases use too. Kosovo's XK is no code of ISO 3166-1, but databases use it.
var continents = [...]struct{ code, countries string }{
	{"AF", "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA " +
		"NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW"},
	{"AN", "AQ BV GS HM TF"},
	{"AS", "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP " +
		"OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE"},
	{"EU", "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME " +
		"MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK"},
	{"NA", "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC " +
		"TT US VC VG VI"},
	{"OC", "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS"},
	{"SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"},
}

// continentOf has for each country the bit of its continent, as in Conditions.
var continentOf = func() (table [26 * 26]uint8) {
	for i, c := range continents {
		for country := range strings.FieldsSeq(c.countries) {
			table[26*int(country[0]-'A')+int(country[1]-'A')] = 1 << i
		}
	}
	return table
}()

func (c Config) continents(out *Conditions) error {
	for _, word := range c.Continent {
		code := strings.ToUpper(word)
		i := slices.IndexFunc(continents[:], func(c struct{ code, countries string }) bool { return c.code == code })
		switch {
		case i < 0:
			return fmt.Errorf("unknown continent %q: use one of AF (Africa), AN (Antarctica), AS (Asia), EU (Europe), "+
				"NA (North and Central America), OC (Oceania), SA (South America)", word)
		case out.continents&(1<<i) != 0:
			return duplicate("continent", word)
		}
		out.continents |= 1 << i
	}
	return nil
}

// onContinent reports whether the country is on one of the continents. An unknown country is on none.
func (c *Conditions) onContinent(country string) bool {
	if len(country) != 2 || country[0]-'A' > 'Z'-'A' || country[1]-'A' > 'Z'-'A' {
		return false
	}
	return c.continents&continentOf[26*int(country[0]-'A')+int(country[1]-'A')] != 0
}
