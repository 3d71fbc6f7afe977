package ipqualityscore

import (
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// parse returns what the body of a successful answer says.
func parse(body []byte) (reputation.Report, error) {
	var v answer
	if err := rest.Decode(body, &v); err != nil {
		return reputation.Report{}, err
	}
	return v.report()
}

func TestMapping(t *testing.T) {
	for _, tc := range []struct {
		name, members string
		severity      float64
		confidence    float64
		categories    string
		nature        string
	}{
		{"nothing else", `"fraud_score":0`, -1, .5, "", `{}`},
		{"a score that no nature explains", `"fraud_score":40,"proxy":false`, .4, .7, "abuse", `{"proxy":false}`},
		{"proxy", `"fraud_score":80,"proxy":true,"vpn":false,"tor":false`, 0, .7, "",
			`{"tor":false,"vpn":false,"proxy":true}`},
		{"data centre", `"fraud_score":65,"connection_type":"Data Center"`, 0, .7, "", `{"hosting":true,"mobile":false}`},
		{"data centre, clean", `"fraud_score":0,"connection_type":"Data Center"`, -1, .5, "",
			`{"hosting":true,"mobile":false}`},
		{"mobile", `"fraud_score":20,"proxy":false,"connection_type":"Mobile"`, .2, .7, "abuse",
			`{"proxy":false,"hosting":false,"mobile":true}`},
		{"a plan without proxies", `"fraud_score":100,"proxy":"Premium required.","vpn":null`, 0, .7, "", `{}`},
		{"a new type", `"fraud_score":0,"connection_type":"Satellite"`, -1, .5, "", `{}`},
		{"frequent abuser", `"fraud_score":90,"frequent_abuser":true,"proxy":true`, .9, .7, "abuse", `{"proxy":true}`},
		{"attacks", `"fraud_score":90,"high_risk_attacks":true`, .9, .7, "abuse", `{}`},
		{"bots", `"fraud_score":75,"bot_status":true`, .75, .7, "abuse, bot", `{}`},
		{"bots with a score of 0", `"fraud_score":0,"bot_status":true`, 0, .7, "bot", `{}`},
		{"a crawler that attacks", `"fraud_score":80,"is_crawler":true,"recent_abuse":true`, .8, .7, "abuse, crawler", `{}`},
		{"flags of other types", `"fraud_score":80,"recent_abuse":1,"vpn":"yes","tor":null`, 0, .7, "", `{}`},
	} {
		got, err := parse([]byte(`{"success":true,` + tc.members + `}`))
		nature, _ := got.Facts.Nature.MarshalJSON()
		if err != nil || got.Severity != tc.severity || got.Confidence != tc.confidence ||
			got.Categories.String() != tc.categories || string(nature) != tc.nature {
			t.Errorf("%s: got %+v, nature %s, %v", tc.name, got, nature, err)
		}
	}
}

func TestNumberOfTheSystem(t *testing.T) {
	for value, want := range map[string]uint32{"64510": 64510, "null": 0, `"N/A"`: 0, "-1": 0, "1e9": 0,
		"4294967296": 0, "{}": 0} {
		got, err := parse([]byte(`{"success":true,"fraud_score":0,"organization":"Example","ASN":` + value + `}`))
		if err != nil || got.Facts.ASN != want || (got.Facts.ASName != "") != (want != 0) {
			t.Errorf("ASN %s became %+v, %v", value, got.Facts, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	providertest.Fuzz(f, providertest.Reader{
		Read:     func(body []byte, _ netip.Addr) (reputation.Report, error) { return parse(body) },
		Severity: providertest.Range{Least: -1, Most: 1}, Confidence: providertest.Range{Least: .5, Most: .7},
		Capabilities: new(IPQualityScore).Profile().Capabilities,
		Accusations:  reputation.CategoriesOf(reputation.Abuse),
	})
}
