package module

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
)

// TestListsAreTextsOrObjects proves that the two forms of a list's JSON may stand side by side, and that each is
// written as it was read.
func TestListsAreTextsOrObjects(t *testing.T) {
	const text = `{"exempt":["198.51.100.0/24",{"sources":["https://lists.example.org/a.csv"],"format":"csv",` +
		`"field":["address"]},{"sources":["203.0.113.7","203.0.113.8"]},{"sources":["tor_exits"],"confirm":0}]}`
	var app App
	if err := json.Unmarshal([]byte(text), &app); err != nil {
		t.Fatal(err)
	}
	written, err := json.Marshal(&app)
	if err != nil || string(written) != text {
		t.Errorf("got %s, %v, want %s", written, err, text)
	}
}

// TestOwnListsAreReadAsTheySay proves that what is exempt and denied takes the options of a feed, and that lists which
// have none keep the names by which operators know them.
func TestOwnListsAreReadAsTheySay(t *testing.T) {
	csv := ListOptions{Format: "csv", Field: []string{"address"}}
	lists, err := operatorLists(listing.Deny, []List{
		{Sources: []string{"198.51.100.7"}},
		{Sources: []string{"https://lists.example.org/a.csv"}, ListOptions: csv},
		{Sources: []string{"/etc/caddy/deny.csv"}, ListOptions: csv},
		{Sources: []string{"203.0.113.0/24"}, Name: "office"},
		{Sources: []string{"198.51.100.8"}},
		{Sources: []string{"spamhaus_drop"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	type list struct {
		Name, Encoding, File string
		Own                  bool
		Values               int
	}
	var got []list
	for _, l := range lists {
		got = append(got, list{l.spec.Name, string(l.spec.Format.Encoding), l.spec.File, l.spec.Own, len(l.spec.Values)})
	}
	want := []list{
		{Name: "deny_" + shortHash("https://lists.example.org/a.csv"), Encoding: "csv"},
		{Name: "deny_deny", Encoding: "csv", File: "/etc/caddy/deny.csv", Own: true},
		{Name: "office", Values: 1},
		{Name: "deny_spamhaus_drop", Encoding: "ndjson"},
		{Name: "deny", Values: 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
