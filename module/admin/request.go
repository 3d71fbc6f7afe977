package admin

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// serveRequest answers GET requests/{id}: from what this process remembers, else from the history.
func serveRequest(rt *runtime.Runtime, r *http.Request, id string) (any, error) {
	if !request.WellFormedID(id) {
		return nil, adminError(http.StatusBadRequest,
			errors.New("this is not the ID of a request: copy it from the page, the header X-Request-ID or the log"))
	}
	query, err := parseHistoryQuery(r.URL.RawQuery, time.Now(), "from", "to", "history")
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	answer := adminapi.Request{RequestID: id}
	if refusal := runtime.Refusals.Find(id); refusal != nil && !query.history {
		answer.Decision = describeRefusal(rt, refusal)
		return answer, nil
	}
	reader, err := rt.OpenHistory(r.Context())
	if errors.Is(err, runtime.ErrNoHistory) && !query.history {
		return nil, adminError(http.StatusNotFound, fmt.Errorf("request %s is not among the latest that "+
			"this instance refused, and there is no history to look in: look for the ID in the log", id))
	}
	if err != nil {
		return nil, historyError(err)
	}
	found, err := reader.Requests(r.Context(), id, query.period)
	if err != nil {
		return nil, historyError(err)
	}
	if len(found.Decisions) == 0 {
		return nil, adminError(http.StatusNotFound, fmt.Errorf("request %s is not known. This instance remembers "+
			"the latest that it refused; the history, searched from %s to %s, has the ID of the first of the equal "+
			"requests of an address in a minute: look for the ID in the log", id, found.Period.From.Format(time.RFC3339), found.Period.To.Format(time.RFC3339)))
	}
	answer.History = &found
	return answer, nil
}

func describeRefusal(rt *runtime.Runtime, r *runtime.Refusal) *adminapi.RequestDecision {
	d := &adminapi.RequestDecision{
		At: r.At.UTC(), Address: rt.Privacy().Addr(r.Address), Host: r.Host, Action: r.Action.String(),
		Mode: "observe", Rule: r.Rule, DecidedBy: r.By, Lists: r.Lists,
		Status: r.Verdict.Status.String(), Coverage: r.Verdict.Coverage, Reasons: reasonsOf(&r.Verdict), Bans: []ban.Entry{},
	}
	if r.Enforce {
		d.Mode = "enforce"
	}
	if r.Verdict.Scored {
		d.Score = &r.Verdict.Score
	}
	if rt.Privacy() != nil {
		return d // a ban would tell the address
	}
	for _, entry := range rt.Overrides.Find(r.Address) {
		if entry.Kind == ban.Ban {
			d.Bans = append(d.Bans, entry)
		}
	}
	return d
}
