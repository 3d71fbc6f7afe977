package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestOneListUnderManyNames proves that a list which is loaded under many names counts once, and that health and
// status name the copies.
func TestOneListUnderManyNames(t *testing.T) {
	p := startPublisher(t, scannerClient+"\n")
	c := newConfig(t)
	var feeds []any
	for i := range 20 {
		feeds = append(feeds, object{"name": fmt.Sprintf("copy_%02d", i), "sources": []any{p.URL}})
	}
	c.app["feeds"] = feeds
	c.handler["rules"] = []any{rule("block", object{"score": "10"})} // which can hold
	r := startCaddy(t, c)
	type status struct {
		Health struct {
			Warnings []struct{ Reason, Component, Text string }
		}
	}
	var last string
	eventually(t, "all copies are named", func() bool {
		repeated := 0
		for _, w := range into[status](t, r.ask(t, "GET", "status", "")).Health.Warnings {
			if w.Reason == "list_repeated" {
				repeated++
				last = w.Text
			}
		}
		return repeated == 19
	})
	if last != "lists copy_00 and copy_19 have the same contents and count once: remove one of them" {
		t.Errorf("health says %q", last)
	}
	if page := r.run(t, "check", scannerClient); !strings.Contains(page, "score 14 ") {
		t.Errorf("twenty copies of one list count for more than one:\n%s", page)
	}
	if page := r.run(t, "status"); !strings.Contains(page, "same contents as copy_00, counts once") {
		t.Errorf("the status does not say it:\n%s", page)
	}
}
