package module

import "testing"

// What a preset is accused of can be said in other words; what it is worth stays.
func TestPresetKeepsItsWeight(t *testing.T) {
	for _, tc := range []struct {
		feed   Feed
		weight float64
		group  string
	}{
		{Feed{Sources: []string{"spamhaus_drop"}, Category: []string{"abuse"}}, 34, "spamhaus"},
		{Feed{Sources: []string{"ipsum"}, Name: "mine"}, 24, "lists"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "ipsum"}, 20, "lists"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "exits", Nature: []string{"tor"}}, 8, "nature"},
	} {
		l, err := tc.feed.list()
		if err != nil || l.meaning.Source.Weight != tc.weight || l.meaning.Source.Group != tc.group {
			t.Errorf("%+v: got %+v, %v; want weight %v in group %s", tc.feed, l.meaning.Source, err, tc.weight, tc.group)
		}
	}
}
