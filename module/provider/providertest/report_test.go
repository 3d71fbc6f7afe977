package providertest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// reporter is a service that takes reports, written as the contract says, with a place for each mistake.
type reporter struct {
	*service
	tell func(ctx context.Context, r *reporter, key string, i reputation.Incident) error
}

func (r *reporter) Report(ctx context.Context, key string, i reputation.Incident) error {
	return r.tell(ctx, r, key, i)
}

func tell(ctx context.Context, r *reporter, key string, i reputation.Incident) error {
	switch {
	case i.Categories&r.profile.Reports.Categories == 0:
		return reputation.ErrUnsupported
	case key == "" || strings.Contains(key, "\n"):
		return reputation.ErrRefused
	}
	form := url.Values{"ip": {i.Addr.String()}, "text": {i.Comment}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/report", strings.NewReader(form.Encode()))
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Key", key)
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return bare(ctx, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	switch {
	case strings.Contains(string(body), "had it"):
		return reputation.ErrDuplicate
	case resp.StatusCode != http.StatusOK:
		return classify(resp, body)
	case !strings.Contains(string(body), "stored"):
		return reputation.ErrBadAnswer
	}
	return nil
}

// TestReportFlaws proves that a good reporter passes, and that each mistake is found by the sub-tests that are there for it.
func TestReportFlaws(t *testing.T) {
	for _, tc := range []struct {
		name string
		tell func(ctx context.Context, r *reporter, key string, i reputation.Incident) error
		want []string // sub-tests that must fail; others may
	}{
		{"good", tell, nil},
		{"sends what the service does not take", func(ctx context.Context, r *reporter, key string, i reputation.Incident) error {
			i.Categories = r.profile.Reports.Categories
			return tell(ctx, r, key, i)
		}, []string{"report/nothing that it takes"}},
		{"sends twice", func(ctx context.Context, r *reporter, key string, i reputation.Incident) error {
			_ = tell(ctx, r, key, i)
			return tell(ctx, r, key, i)
		}, []string{"report/stored"}},
		{"takes a report that is there for a pause", func(ctx context.Context, r *reporter, key string, i reputation.Incident) error {
			if err := tell(ctx, r, key, i); err != nil {
				return &reputation.ThrottledError{}
			}
			return nil
		}, []string{"report/there already"}},
		{"takes a page for an answer", func(ctx context.Context, r *reporter, key string, i reputation.Incident) error {
			if err := tell(ctx, r, key, i); reputation.ResultOf(err) != reputation.ResultBadAnswer {
				return err
			}
			return nil
		}, []string{"report/an empty answer", "report/a page"}},
		{"shows the address", func(ctx context.Context, r *reporter, key string, i reputation.Incident) error {
			if err := tell(ctx, r, key, i); err != nil {
				return fmt.Errorf("reporting %s: %w", i.Addr, err)
			}
			return nil
		}, []string{"report/there already", "report/a broken connection"}},
		{"panics", func(context.Context, *reporter, string, reputation.Incident) error { panic("oops") },
			[]string{"report/stored"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := config(nil)
			plain := c.New
			c.New = func(tb testing.TB, url string) reputation.Provider {
				s := plain(tb, url).(*service)
				s.profile.Reports.Categories = reputation.CategoriesOf(reputation.Spam)
				return &reporter{s, tc.tell}
			}
			checks, err := c.reportChecks([]ReportCase{
				{Case: Case{Name: "stored", Body: `{"stored":true}`}},
				{Case: Case{Name: "there already", Status: 429, Body: `{"error":"had it"}`}, Err: reputation.ErrDuplicate},
			})
			if err != nil {
				t.Fatal(err)
			}
			var failed []string
			for _, check := range checks {
				if err := check.run(t); err != nil {
					failed = append(failed, check.name)
					if tc.want == nil {
						t.Errorf("%s: %v", check.name, err)
					}
				}
			}
			for _, name := range tc.want {
				if !slices.Contains(failed, name) {
					t.Errorf("%q has not failed, only %q", name, failed)
				}
			}
		})
	}
}
