package health

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// private stands in every text of a status that strangers must not see.
const private = "dial tcp 203.0.113.7:443: password=hunter2 in /run/secrets/x"

// public are the fields that strangers may see: names of the configuration, fingerprints, and words of ours.
var public = []string{
	"Chosen", "Name", "Fingerprint", "State", "Role", "SameAs", "Kind", "LastResult", "Result", "Window", "Period", "Breaker",
}

// poison writes private into every text below v but the public ones.
func poison(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), path)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !slices.Contains(public, f.Name) {
				poison(v.Field(i), path+"."+f.Name)
			}
		}
	case reflect.String:
		switch path[strings.LastIndex(path, ".")+1:] {
		case "Owner", "Deaf", "Upkeep", "Problem", "FirstIgnored": // an empty one means that all is well
			if v.String() == "" {
				return
			}
		}
		v.SetString(private)
	}
}

// TestStrangersSeeNoErrors proves that no text of a status but a few names is in what strangers may
// see, whatever is wrong, and that operators see what it is.
func TestStrangersSeeNoErrors(t *testing.T) {
	withError := map[Reason]bool{}
	for name, tc := range judgements {
		t.Run(name, func(t *testing.T) {
			s := well()
			tc.change(&s)
			poison(reflect.ValueOf(&s), "")
			r := Judge(s, now)
			shown, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			warnings, err := json.Marshal(r.Warnings)
			if err != nil {
				t.Fatal(err)
			}
			for where, text := range map[string]string{
				"the report": string(shown), "its warnings": string(warnings), "its output": r.Output,
			} {
				for _, part := range []string{"203.0.113.7", "hunter2", "/run/secrets", "dial"} {
					if strings.Contains(text, part) {
						t.Errorf("%s shows %q: %s", where, part, text)
					}
				}
			}
			for _, w := range r.Warnings {
				if w.ForOperators() == "" {
					t.Errorf("operators read nothing of %s", w.Reason)
				}
				if strings.Contains(w.Detail, private) {
					withError[w.Reason] = true
				}
			}
		})
	}
	for _, reason := range []Reason{
		ListEmpty, ListStale, ListFailing, ListNotStored, ListWrongLines, RedisAway, RedisUnsubscribed, RedisRefuses,
		HistoryAway, HistoryRefused, HistoryUpkeep, HistoryUnsaved, SentryUndelivered, KeyUnreadable, KeyMissing,
		FolderInUse, FolderUnlocked, DatabaseMissing, DatabaseFailing, DatabaseOld, ProviderSetAside,
	} {
		if !withError[reason] {
			t.Errorf("operators do not read the error of %s", reason)
		}
	}
}

// TestReasons proves that every reason can be the outcome of a judgement, and is documented.
func TestReasons(t *testing.T) {
	found := map[Reason]bool{}
	for _, tc := range judgements {
		for _, reason := range tc.want {
			found[reason] = true
		}
	}
	page, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "health.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); !ok || of.Name != "Reason" {
			return true
		}
		word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		n++
		if !found[Reason(word)] {
			t.Errorf("no judgement has the reason %s", word)
		}
		if !strings.Contains(string(page), "`"+word+"`") {
			t.Errorf("docs/operations.md lacks the reason %s", word)
		}
		return true
	})
	if n < 20 {
		t.Errorf("only %d reasons were found", n)
	}
}
