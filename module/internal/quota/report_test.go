package quota

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// reporting is a service that takes reports, whose answer can be changed.
type reporting struct {
	service
	sent []reputation.Incident
}

func (r *reporting) Report(_ context.Context, _ string, i reputation.Incident) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, i)
	return r.err
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, counts := new(reporting), memory()
		terms := Terms{Windows: windows("3/day")}
		checks := New("a", p, Terms{Windows: windows("100/day")}, NewBudget(), counts, quiet())
		reports := New("a/report", p, terms, NewBudget(), counts, quiet())
		report := func(want error) {
			t.Helper()
			err := reports.Report(t.Context(), "k", reputation.Incident{Addr: addr4})
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("the error is %v, want %v", err, want)
			}
		}
		wantReports := func(sent, used int) {
			t.Helper()
			if got := reports.Status().Windows[0].Used; len(p.sent) != sent || got != used {
				t.Errorf("%d sent and %d counted, want %d and %d", len(p.sent), got, sent, used)
			}
		}

		report(nil)
		wantReports(1, 1)
		// that there is a report already, or that one is not taken, is no fault of the service, and no pause
		for _, answer := range []error{reputation.ErrDuplicate, reputation.ErrRejected} {
			p.answers(answer)
			report(answer)
			if s := reports.Status(); !s.Up || s.Failures != 0 || !s.ThrottledUntil.IsZero() {
				t.Errorf("after %v it is %+v", answer, s)
			}
		}
		p.answers(nil)
		if _, ok := errors.AsType[*reputation.SkippedError](reports.Report(t.Context(), "k", reputation.Incident{Addr: addr4})); !ok {
			t.Error("more than the quota was sent")
		}
		wantReports(3, 3)
		if used := checks.Status().Windows[0].Used; used != 0 {
			t.Errorf("%d reports were counted as checks", used)
		}
		wantResult(t, checks, reputation.ResultOK)
		wantReports(3, 3)

		time.Sleep(24 * time.Hour) // another day begins
		p.answers(&reputation.ThrottledError{RetryAfter: time.Hour})
		report(p.err)
		if until := reports.Status().ThrottledUntil; time.Until(until) != time.Hour {
			t.Errorf("it pauses until %s", until)
		}
		p.answers(nil)
		wantResult(t, checks, reputation.ResultOK) // a pause of reports is none of checks
	})
	if err := New("a", new(service), Terms{}, NewBudget(), memory(), quiet()).Report(t.Context(), "", reputation.Incident{}); !errors.Is(err, reputation.ErrUnsupported) {
		t.Errorf("a service that takes none: %v", err)
	}
}
