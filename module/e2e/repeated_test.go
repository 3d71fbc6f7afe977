package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestOneListUnderManyNames proves that a list which is loaded under many names counts once, and that log, health and
// status name the copies.
func TestOneListUnderManyNames(t *testing.T) {
	p := startPublisher(t, scannerClient+"\n")
	c := newConfig(t)
	var feeds []any
	for i := range 20 {
		feeds = append(feeds, object{"name": fmt.Sprintf("copy_%02d", i), "sources": []any{p.URL}})
	}
	c.app["feeds"] = feeds
	r := startCaddy(t, c)
	type status struct {
		Health struct {
			Warnings []struct{ Reason, Component, Text string }
		}
	}
	var s status
	eventually(t, "all copies are named", func() bool {
		s = into[status](t, r.ask(t, "GET", "status", ""))
		return len(s.Health.Warnings) == 19 && s.Health.Warnings[18].Reason == "list_repeated"
	})
	if got := s.Health.Warnings[18].Text; got != "lists copy_00 and copy_19 have the same contents and count once: remove one of them" {
		t.Errorf("health says %q", got)
	}
	if page := r.run(t, "check", scannerClient); !strings.Contains(page, "score 14 ") {
		t.Errorf("twenty copies of one list count for more than one:\n%s", page)
	}
	if page := r.run(t, "status"); !strings.Contains(page, "same contents as copy_00, counts once") {
		t.Errorf("the status does not say it:\n%s", page)
	}
	eventually(t, "the log says it", func() bool {
		return strings.Count(r.logs(t), "two lists have the same contents") == 19
	})
}
