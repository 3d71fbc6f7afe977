package command

import (
	"strings"
	"testing"
)

func TestTerminal(t *testing.T) {
	for _, tc := range []struct {
		columns string
		want    int
	}{{"", 80}, {"100", 100}, {"1", 40}, {"100000", 240}, {"-3", 80}, {"wide", 80}} {
		env := func(name string) string { return map[string]string{"COLUMNS": tc.columns}[name] }
		if got := plotWidth(new(strings.Builder), env); got != tc.want {
			t.Errorf("with COLUMNS=%s: %d, want %d", tc.columns, got, tc.want)
		}
	}
	for _, tc := range []struct {
		system, all, ctype, lang string
		want                     bool
	}{
		{"linux", "", "", "", false},
		{"linux", "", "", "de_DE.UTF-8", true},
		{"linux", "", "C.utf8", "C", true},
		{"linux", "POSIX", "C.utf8", "C.utf8", false},
		{"darwin", "", "UTF-8", "", true},
		{"linux", "", "", "de_DE@euro", false},
		{"windows", "", "", "", true},
	} {
		env := func(name string) string {
			return map[string]string{"LC_ALL": tc.all, "LC_CTYPE": tc.ctype, "LANG": tc.lang}[name]
		}
		if got := localeIsUTF8(tc.system, env); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}
