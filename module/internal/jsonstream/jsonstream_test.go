package jsonstream

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzIsObject: what is read as JSON is JSON, and all JSON within the bounds is read.
func FuzzIsObject(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":[1,-2.5e3,true,null,"\u00e9\""]}`, `{"a":1,}`, `{"a" 1}`, `{a:1}`, `{"a":01}`, "{\"\x01\":1}", `{"a":[}`, `{} {}`, ` {"a":{"b":[[]]}} `, "{\"\xff\":\"\xff\"}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := New(strings.NewReader(text)).IsObject()
		valid := json.Valid([]byte(text)) && strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{")
		if got && !valid || !got && valid && len(text) < MaxDepth {
			t.Errorf("%q is read: %v, is JSON: %v", text, got, valid)
		}
	})
}
