package conduct

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// TestEachReasonHasASeries: the metrics count a word that they do not know nowhere.
func TestEachReasonHasASeries(t *testing.T) {
	for metric, want := range map[string][]violation.Ignored{
		"violations_ignored_total": reasonsIn(t, "../../violation/violation.go"),
		"bans_spared_total":        slices.Sorted(maps.Keys(spared)),
	} {
		if diff := cmp.Diff(want, reasonsOf(t, "caddy_ip_reputation_"+metric)); diff != "" {
			t.Errorf("%s (-words +series):\n%s", metric, diff)
		}
	}
}

// reasonsIn returns the constants of type Ignored in a file, sorted.
func reasonsIn(t *testing.T, path string) (words []violation.Ignored) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); !ok || of.Name != "Ignored" {
			return true
		}
		word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, violation.Ignored(word))
		return true
	})
	slices.Sort(words)
	return words
}

// reasonsOf returns the words by which a metric counts, sorted.
func reasonsOf(t *testing.T, name string) (words []violation.Ignored) {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := metrics.Register(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			words = append(words, violation.Ignored(m.GetLabel()[0].GetValue()))
		}
	}
	slices.Sort(words)
	return words
}
