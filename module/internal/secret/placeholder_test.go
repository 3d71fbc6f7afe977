package secret

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// replacer knows some placeholders.
type replacer map[string]string

func (r replacer) ReplaceOrErr(text string, _, errOnUnknown bool) (string, error) {
	for name, value := range r {
		text = strings.ReplaceAll(text, name, value)
	}
	if errOnUnknown && Placeholders(text) != "" {
		return "", errors.New("unknown placeholder in " + text)
	}
	return text, nil
}

func TestPlaceholders(t *testing.T) {
	for text, want := range map[string]struct {
		placeholders, rest string
		mistaken           bool
	}{
		"":                            {},
		"{env.KEY}":                   {placeholders: "{env.KEY}"},
		"{file./run/secrets/key}":     {placeholders: "{file./run/secrets/key}"},
		"hunter2":                     {rest: "hunter2"},
		"user:{env.A}@{env.B}/x":      {placeholders: "{env.A} {env.B}", rest: "user:@/x"},
		"{env.A}:{file.b}":            {placeholders: "{env.A}:{file.b}", rest: ":"},
		"key-of-{braces}-{":           {rest: "key-of-{braces}-{"},
		"{env:KEY}":                   {rest: "{env:KEY}", mistaken: true},
		"{KEY}":                       {rest: "{KEY}", mistaken: true},
		"{env.}":                      {rest: "{env.}", mistaken: true},
		"{http.request.header.X-Key}": {rest: "{http.request.header.X-Key}", mistaken: true},
		"$KEY":                        {rest: "$KEY", mistaken: true},
		"${KEY}":                      {rest: "${KEY}", mistaken: true},
		"$KEY and more":               {rest: "$KEY and more"},
		"env.KEY":                     {rest: "env.KEY", mistaken: true},
		"file./run/secrets/key":       {rest: "file./run/secrets/key", mistaken: true},
		"env:KEY":                     {rest: "env:KEY", mistaken: true},
		"%KEY%":                       {rest: "%KEY%", mistaken: true},
		"environment.of.sorts":        {rest: "environment.of.sorts"},
		"{env.{env.KEY}}":             {placeholders: "{env.KEY}", rest: "{env.}"},
	} {
		if got := Placeholders(text); got != want.placeholders {
			t.Errorf("the placeholders of %q are %q, want %q", text, got, want.placeholders)
		}
		if got := WithoutPlaceholders(text); got != want.rest {
			t.Errorf("%q without placeholders is %q, want %q", text, got, want.rest)
		}
		if got := LooksLikePlaceholder(text); got != want.mistaken {
			t.Errorf("%q looks like a placeholder: %t", text, got)
		}
	}
}

func TestResolve(t *testing.T) {
	with := replacer{"{env.KEY}": " k3y\n", "{env.EMPTY}": " ", "{env.HOST}": "db.example.org"}
	for text, want := range map[string]string{
		"{env.KEY}":              "k3y",
		"postgres://{env.HOST}/": "postgres://db.example.org/",
		" hunter2\n":             "hunter2",
		"{braces}":               "{braces}",
		"":                       "",
	} {
		if got, err := Resolve(text, with); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"{env.EMPTY}", "{env.NOBODY}", "hunter2{env.NOBODY}", "{env.EMPTY} {env.EMPTY}"} {
		got, err := Resolve(text, with)
		if !errors.Is(err, ErrEmpty) || got != "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestLooksLike(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("IPREP_TEST_KEY", "hunter2")
	t.Chdir(filepath.Dir(file))
	for text, want := range map[string]string{
		"":                        "",
		"hunter2":                 "",
		"0af7651916cd43dd":        "",
		"p4ss/word+with=":         "",
		"postgres://u@h/db":       "",
		"https://k@sentry.io/1":   "",
		"whsec_c2VjcmV0":          "",
		"~!p4ssword":              "",
		`\p4ssword`:               "",
		"IPREP_TEST_KEY_NOT_SET":  "",
		strings.Repeat("k", 5000): "",
		"a\x00b":                  "",
		"{file./run/secrets/key}": "",
		"{env.A}/of/some":         "",
		"{env.IPREP_TEST_KEY":     "a placeholder",
		"{file./run/secrets/key":  "a placeholder",
		"/run/secrets/key":        "a path",
		"./key":                   "a path",
		"../key":                  "a path",
		"~/key":                   "a path",
		`C:\secrets\key`:          "a path",
		file:                      "a path",
		"key":                     "a path",
		"file./run/secrets/key":   "a placeholder",
		"$KEY":                    "a placeholder",
		"IPREP_TEST_KEY":          "the name of a variable",
	} {
		if got := LooksLike(text); got != want {
			t.Errorf("%q looks like %q, want %q", text, got, want)
		}
	}
}
