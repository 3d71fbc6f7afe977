package greynoise

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// communityAnswer is the body of a 200, and of a 404, which the service sends about addresses that
// it does not know.
type communityAnswer struct {
	IP             string `json:"ip"`
	Noise          *bool  `json:"noise"` // it scans
	Riot           bool   `json:"riot"`  // it is of a common service; missing in some answers
	Classification string `json:"classification"`
	LastSeen       string `json:"last_seen"`
}

func (p *GreyNoise) checkCommunity(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{
		Path:    []string{"v3", "community", q.Addr.String()},
		Header:  map[string]string{"key": q.Key},
		Answers: []int{http.StatusNotFound},
		Failure: notRoutable(q.Addr),
	}
	return rest.Ask(ctx, &p.Endpoint, q, question,
		func(v *communityAnswer, resp *rest.Response) (reputation.Report, error) {
			return v.report(q.Addr, resp.Status)
		})
}

// report returns the report of an answer about addr.
func (v *communityAnswer) report(addr netip.Addr, status int) (reputation.Report, error) {
	switch {
	case !rest.SameAddr(v.IP, addr):
		return reputation.Report{}, fmt.Errorf(`%w: "ip" is not the address that was asked about`, reputation.ErrBadAnswer)
	case v.Noise == nil:
		return reputation.Report{}, fmt.Errorf(`%w: there is no "noise"`, reputation.ErrBadAnswer)
	case status == http.StatusNotFound && (*v.Noise || v.Riot):
		return reputation.Report{}, fmt.Errorf("%w: a 404 about an address that it knows", reputation.ErrBadAnswer)
	}
	f := finding{scans: *v.Noise, classification: v.Classification, business: v.Riot, lastSeen: v.LastSeen}
	return f.report()
}
