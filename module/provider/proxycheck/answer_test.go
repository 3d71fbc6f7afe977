package proxycheck

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// parse returns what a body says about addr.
func parse(api string, body []byte, addr netip.Addr) (reputation.Report, error) {
	if api == v2 {
		return parseAs[answer2](body, addr)
	}
	return parseAs[answer3](body, addr)
}

func parseAs[T answer](body []byte, addr netip.Addr) (reputation.Report, error) {
	var v envelope[T]
	if err := rest.Decode(body, &v); err != nil {
		return reputation.Report{}, err
	}
	for _, m := range v.members { // without one, the refusal quotes an answer that there is not
		if rest.SameAddr(m.Name, addr) {
			found, err := v.about(addr, nil)
			if err != nil {
				return reputation.Report{}, err
			}
			return found.report(addr)
		}
	}
	return reputation.Report{}, reputation.ErrBadAnswer
}

func TestMapping(t *testing.T) {
	for _, tc := range []struct {
		api, members string
		severity     float64
		confidence   float64
		categories   string
		nature       string
		bad          bool
	}{
		{v3, `"detections":{"risk":0}`, -1, .7, "", `{}`, false},
		{v3, `"detections":{"risk":0,"confidence":0}`, -1, 0, "", `{}`, false},
		{v3, `"detections":{"risk":40,"confidence":50,"proxy":false,"vpn":false,"tor":false}`, .4, .4, "abuse",
			`{"tor":false,"vpn":false,"proxy":false}`, false},
		{v3, `"detections":{"risk":100,"proxy":false,"vpn":null}`, 0, .7, "", `{"proxy":false}`, false},
		{v3, `"detections":{"risk":90,"vpn":true},"attack_history":{"login":0,"spam":{"n":0},"x":[0,null]}`, 0, .7, "",
			`{"vpn":true}`, false},
		{v3, `"detections":{"risk":90,"vpn":true},"attack_history":{"login":0,"spam":{"n":3}}`, .9, .7, "abuse", `{"vpn":true}`, false},
		{v3, `"detections":{"risk":90,"proxy":true}`, 0, .7, "", `{"proxy":true}`, false},
		{v3, `"detections":{"risk":0,"vpn":true}`, -1, .7, "", `{"vpn":true}`, false},
		{v3, `"detections":{"risk":0,"compromised":true}`, 0, .7, "compromised", `{}`, false},
		{v3, `"detections":{"risk":90,"hosting":true},"attack_history":[]`, 0, .7, "", `{"hosting":true}`, false},
		{v3, `"detections":{"risk":90,"hosting":true},"attack_history":{ }`, 0, .7, "", `{"hosting":true}`, false},
		{v3, `"detections":{"risk":90,"hosting":true},"attack_history":{"x":1}`, .9, .7, "abuse", `{"hosting":true}`, false},
		{v3, `"detections":{"risk":0,"hosting":false},"network":{"type":"Hosting"}`, -1, .7, "",
			`{"hosting":false,"mobile":false}`, false},
		{v3, `"detections":{"risk":0},"network":{"type":"Space"}`, -1, .7, "", `{}`, false},
		{v3, `"detections":{"risk":-1}`, 0, 0, "", `{}`, true},
		{v3, `"detections":{"risk":101}`, 0, 0, "", `{}`, true},
		{v3, `"detections":{"risk":"50"}`, 0, 0, "", `{}`, true},
		{v3, `"detections":{"risk":null}`, 0, 0, "", `{}`, true},
		{v3, `"detections":{"risk":5,"confidence":101}`, 0, 0, "", `{}`, true},
		{v3, `"detections":{"risk":5,"confidence":-1}`, 0, 0, "", `{}`, true},
		{v3, `"detections":null`, 0, 0, "", `{}`, true},
		{v3, `"proxy":"no","risk":0`, 0, 0, "", `{}`, true},
		{v2, `"proxy":"no","risk":0`, -1, .7, "", `{"tor":false,"vpn":false,"proxy":false}`, false},
		{v2, `"proxy":"no","risk":50,"type":"Business"`, .5, .7, "abuse",
			`{"tor":false,"vpn":false,"proxy":false,"hosting":false,"mobile":false}`, false},
		{v2, `"proxy":"no","risk":50,"type":"Hosting"`, 0, .7, "",
			`{"tor":false,"vpn":false,"proxy":false,"hosting":true,"mobile":false}`, false},
		{v2, `"proxy":"yes","risk":75,"type":"SOCKS5"`, 0, .7, "", `{"proxy":true}`, false},
		{v2, `"proxy":"yes","risk":75,"type":"TOR"`, 0, .7, "", `{"tor":true}`, false},
		{v2, `"proxy":"yes","risk":75`, 0, .7, "", `{"proxy":true}`, false},
		{v2, `"proxy":"yes","risk":75,"last seen unix":"soon"`, 0, .7, "", `{"proxy":true}`, false},
		{v2, `"risk":0`, 0, 0, "", `{}`, true},
		{v2, `"proxy":true,"risk":0`, 0, 0, "", `{}`, true},
		{v2, `"proxy":"maybe","risk":0`, 0, 0, "", `{}`, true},
		{v2, `"proxy":"no"`, 0, 0, "", `{}`, true},
		{v2, `"error":"No valid IP."`, 0, 0, "", `{}`, true},
	} {
		got, err := parse(tc.api, []byte(`{"status":"ok","203.0.113.10":{`+tc.members+`}}`), asked)
		nature, _ := json.Marshal(got.Facts.Nature)
		if errors.Is(err, reputation.ErrBadAnswer) != tc.bad || (err != nil) != tc.bad || got.Severity != tc.severity ||
			math.Abs(got.Confidence-tc.confidence) > 1e-9 || got.Categories.String() != tc.categories ||
			string(nature) != tc.nature ||
			!got.LastSeen.IsZero() {
			t.Errorf("%s %s: got %+v, nature %s, %v", tc.api, tc.members, got, nature, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	var versions []providertest.Reader
	for _, api := range []string{v2, v3} {
		versions = append(versions, providertest.Reader{
			Read:     func(body []byte, addr netip.Addr) (reputation.Report, error) { return parse(api, body, addr) },
			Severity: providertest.Range{Least: -1, Most: 1}, Confidence: providertest.Range{Most: .8},
			Capabilities: (&ProxyCheck{API: api}).Profile().Capabilities,
			Accusations:  reputation.CategoriesOf(reputation.Abuse),
		})
	}
	providertest.Fuzz(f, versions...)
}
