package api

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/api"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// backend is what the API speaks of.
type backend struct{ rt *runtime.Runtime }

// Known implements api.Backend.
func (l backend) Known(ctx context.Context, addr netip.Addr) api.Answer {
	addr = l.rt.NAT64.Unmap(addr)
	l.rt.Engine.Recall(ctx, addr) // whichever instance answers, it knows what all do
	v := l.rt.Engine.Explain(addr).Verdict
	return apiAnswer(addr, &v)
}

// Ask implements api.Backend.
func (l backend) Ask(ctx context.Context, addr netip.Addr, wait time.Duration) api.Answer {
	addr = l.rt.NAT64.Unmap(addr)
	v := l.rt.Engine.Lookup(ctx, addr, wait)
	return apiAnswer(addr, &v)
}

// History implements api.Backend.
func (l backend) History(ctx context.Context) (history.Reader, error) { return l.rt.OpenHistory(ctx) }

// Stored implements api.Backend.
func (l backend) Stored(prefix netip.Prefix) (netip.Prefix, error) {
	return l.rt.StoredAs(l.rt.NAT64.UnmapPrefix(prefix))
}

// Violate implements api.Backend. The application has decided: what the terms say of bans is done.
func (l backend) Violate(ctx context.Context, v api.Violation) api.ViolationResult {
	addr := l.rt.NAT64.Unmap(v.Address)
	result := l.rt.Conduct.Violate(ctx, conduct.Offence{
		Violation: v.Name, Client: addr, At: time.Now(), Share: 1, Enforce: true,
		Site: v.Host, Path: v.Path, RequestID: v.RequestID, Token: v.Token,
	})
	return api.ViolationResult{
		Address: addr, Subject: reputation.Subject(addr), Violation: v.Name,
		Counted: result.Counted, Ignored: string(result.Ignored), Points: result.Points,
	}
}

// Violations implements api.Backend.
func (l backend) Violations() []string { return l.rt.Conduct.ViolationNames() }

// Ready implements api.Backend.
func (backend) Ready(r *http.Request) bool { return runtime.ServingFor(r) != nil }

// apiAnswer is what visitors may know of a verdict.
func apiAnswer(addr netip.Addr, v *reputation.Verdict) api.Answer {
	known := adminapi.FactsOf(v.Facts)
	answer := api.Answer{
		Address: addr, Subject: reputation.Subject(addr), Status: v.Status.String(), Coverage: v.Coverage,
		Categories: adminapi.CategoryWords(v.Categories), Country: known.Country, ASN: known.ASN, ASName: known.ASName, Nature: known.Nature,
		Reasons: []api.Reason{},
	}
	if v.Scored {
		answer.Score = new(v.Score)
	}
	for _, r := range v.Reasons {
		answer.Reasons = append(answer.Reasons, api.Reason{
			Source: r.Source, Points: r.Points, Categories: adminapi.CategoryWords(r.Categories), AgeSeconds: int64(r.Age.Seconds()),
			Network: r.Network,
		})
	}
	return answer
}
