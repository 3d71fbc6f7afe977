package request

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWellFormedRequestIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"7f3c": true, "Root=1-67891233-abcdef012345678912345678": true, "a/b+c=": true, strings.Repeat("a", 128): true,
		"": false, "a b": false, "a\tb": false, "a\"b": false, "a,b": false, "a;b": false, "é": false, "a\x00": false,
		strings.Repeat("a", 129): false,
	} {
		if got := WellFormedID(id); got != want {
			t.Errorf("%q: got %t", id, got)
		}
	}
}

func TestNewRequestIDsDiffer(t *testing.T) {
	seen := make(map[string]bool)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for range 1000 {
		id := ID(r, nil)
		if len(id) != 32 || !WellFormedID(id) || seen[id] {
			t.Fatalf("bad or repeated ID %q", id)
		}
		seen[id] = true
	}
}
