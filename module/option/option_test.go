package option_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// settings has a field for each setter.
type settings struct {
	Text, Secret, Word, A, B string
	Flag, Switch             bool
	Off                      *bool
	Number, Days             int
	Zero                     *int
	Share                    float64
	Trust                    *float64
	Size                     int64
	Duration, Timeout        caddy.Duration
	Wait                     *caddy.Duration
	List, Words              []string
	Header                   map[string]string
	Sub                      *inner
	Checked                  int
}

type inner struct{ Name string }

func parseWord(word string) (int, error) {
	if word == "bad" {
		return 0, errors.New("unknown word: use another")
	}
	return 0, nil
}

func (s *settings) block() option.Block {
	return option.Block{Name: "test", Options: []option.Option{
		option.Once("text", option.Text(&s.Text, "a text")),
		option.Once("secret", option.Secret(&s.Secret)),
		option.Once("word", option.OneOf(&s.Word, "yes", "no")),
		option.Once("flag", option.Flag(&s.Flag)),
		option.Once("switch", option.Switch(&s.Switch)),
		option.Once("off", option.Switch(&s.Off)),
		option.Once("number", option.Number(&s.Number, "")),
		option.Once("days", option.Number(&s.Days, "", 1, 365)),
		option.Once("zero", option.Number(&s.Zero, "", 0)),
		option.Once("share", option.Share(&s.Share)),
		option.Once("trust", option.Share(&s.Trust)),
		option.Once("size", option.Size(&s.Size)),
		option.Once("duration", option.Duration(&s.Duration, "")),
		option.Once("timeout", option.Duration(&s.Timeout, "", time.Second, time.Minute)),
		option.Once("wait", option.Duration(&s.Wait, "a duration, or 0", 0)),
		option.Once("list", option.List(&s.List, "things")),
		option.Repeated("words", option.Words(&s.Words, "words", parseWord)),
		option.Repeated("header", option.Header(&s.Header)),
		option.Once("two", option.Values("two texts", &s.A, &s.B)),
		option.Once("sub", option.Sub(&s.Sub, "sub of test", func(i *inner) []option.Option {
			return []option.Option{option.Once("name", option.Text(&i.Name, "a name"))}
		})),
		option.Once("checked", option.Number(&s.Checked, "", 0), func() error {
			if s.Checked > 5 {
				return fmt.Errorf("checked is %d: use up to 5", s.Checked)
			}
			return nil
		}),
		option.Once("lazy", func(*caddyfile.Dispenser) error { return nil }),
	}}
}

func read(b option.Block, text string) error {
	d := caddyfile.NewTestDispenser(text)
	d.Next()
	return b.Read(d)
}

func TestGood(t *testing.T) {
	for _, tc := range []struct {
		lines string
		want  settings
	}{
		{"", settings{}},
		{"text a", settings{Text: "a"}},
		{`text "a b"`, settings{Text: "a b"}},
		{"secret {env.KEY}", settings{Secret: "{env.KEY}"}},
		{"word no", settings{Word: "no"}},
		{"flag", settings{Flag: true}},
		{"switch on", settings{Switch: true}},
		{"off off", settings{Off: new(false)}},
		{"number 7", settings{Number: 7}},
		{"days 365", settings{Days: 365}},
		{"zero 0", settings{Zero: new(0)}},
		{"share 0.5\ntrust 0", settings{Share: .5, Trust: new(0.0)}},
		{"size 2MiB", settings{Size: 2 << 20}},
		{"duration 1d", settings{Duration: caddy.Duration(24 * time.Hour)}},
		{"timeout 1s", settings{Timeout: caddy.Duration(time.Second)}},
		{"wait 0", settings{Wait: new(caddy.Duration(0))}},
		{"list a b", settings{List: []string{"a", "b"}}},
		{"words a,b c\nwords d", settings{Words: []string{"a", "b", "c", "d"}}},
		{"header x-a b\nheader X-C d", settings{Header: map[string]string{"X-A": "b", "X-C": "d"}}},
		{"two a b", settings{A: "a", B: "b"}},
		{"sub", settings{Sub: new(inner)}},
		{"sub {\n}", settings{Sub: new(inner)}},
		{"sub {\nname a\n}\ntext b", settings{Sub: &inner{"a"}, Text: "b"}},
		{"checked 5", settings{Checked: 5}},
		{`text "{"`, settings{Text: "{"}},
	} {
		t.Run(tc.lines, func(t *testing.T) {
			var got settings
			if err := read(got.block(), "test {\n"+tc.lines+"\n}"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBad(t *testing.T) {
	for _, tc := range []struct{ lines, want string }{
		{"text", "text takes one value, a text: it has 0"},
		{"text a hunter2", "text takes one value, a text: it has 2"},
		{`text ""`, "text is empty: give it a text"},
		{"secret hunter2 b", "secret takes one value, a placeholder such as {env.NAME} or {file./path}: it has 2"},
		{"word maybe", `word "maybe" is not one of yes, no`},
		{"flag on", `flag takes no value, it has "on": write the word alone, or remove it`},
		{"switch true", `switch "true" is not on or off`},
		{"number 0", `number "0" is not a whole number of 1 or more`},
		{"number 1.5", `number "1.5" is not a whole number of 1 or more`},
		{"number 99999999999999999999", `is not a whole number of 1 or more`},
		{"days 0", `days "0" is not a whole number from 1 to 365`},
		{"days 366", `days "366" is not a whole number from 1 to 365`},
		{"zero -1", `zero "-1" is not a whole number of 0 or more`},
		{"share 1.1", `share "1.1" is not a number from 0 to 1, such as 0.5`},
		{"trust NaN", `trust "NaN" is not a number from 0 to 1, such as 0.5`},
		{"trust -0.1", `trust "-0.1" is not a number from 0 to 1, such as 0.5`},
		{"size 0", `size "0" is not a size such as 64MiB`},
		{"size 16EiB", `size "16EiB" is not a size such as 64MiB`},
		{"duration 0", `duration "0" is not a duration above 0, such as 2s, 6h or 1d`},
		{"timeout 2m", `timeout "2m" is not a duration from 1s to 1m0s`},
		{"timeout 1ms", `timeout "1ms" is not a duration from 1s to 1m0s`},
		{"wait -1s", `wait "-1s" is not a duration, or 0`},
		{"list", "list needs a value: things"},
		{`list a ""`, "list has an empty value: give things"},
		{"words", "words needs a value: words, separated by commas or spaces"},
		{"words a,", "words has an empty value: remove the surplus comma"},
		{"words bad", "unknown word: use another"},
		{"header hunter2", `header takes a name and a value, such as Authorization "Bearer {env.TOKEN}"`},
		{`header hunter2 ""`, `header takes a name and a value, such as Authorization "Bearer {env.TOKEN}"`},
		{"header x-a b\nheader X-A hunter2", "header X-A is given twice: remove one, at Testfile:3"},
		{"two hunter2", "two takes two texts"},
		{"two hunter2 b c", "two takes two texts"},
		{"checked 6", "checked is 6: use up to 5"},
		{"sub a", `unexpected "a" after sub of test: write options into a block { }, one a line`},
		{"sub {\nname\n}", "name takes one value, a name: it has 0, at Testfile:3"},
		{"sub {\ntext a\n}", `unknown option "text" of sub of test: use one of name, at Testfile:3`},
		{"sub {\nname a {\n}\n}", `option "name" of sub of test takes no block, at Testfile:3`},
		{"sub {\nname a\nname b\n}", `duplicate option "name" of sub of test: it is on line 3 of Testfile already, at Testfile:4`},
		{"text a\ntext hunter2", `duplicate option "text" of test: it is on line 2 of Testfile already, at Testfile:3`},
		{"text a {\n}", `option "text" of test takes no block`},
		{"text a {\nb\n}", `option "text" of test takes no block`},
		{"text \"hunter2\nb\" {\nc\n}", `option "text" of test takes no block`},
		{"flag {\nb\n}", `option "flag" of test takes no block`},
		{"lazy hunter2", "lazy takes fewer values"},
		{"{", `unknown option "{" of test: use one of text, secret, word, flag, switch, off, number, days, zero, share, ` +
			"trust, size, duration, timeout, wait, list, words, header, two, sub, checked, lazy"},
	} {
		t.Run(tc.lines, func(t *testing.T) {
			want := tc.want
			if !strings.Contains(want, "at Testfile:") {
				want += ", at Testfile:2"
			}
			err := read(new(settings).block(), "test {\n"+tc.lines+"\n}")
			if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error is %v, want %q", err, want)
			}
		})
	}
	if err := read(new(settings).block(), "test a {\n}"); err == nil ||
		err.Error() != `unexpected "a" after test: write options into a block { }, one a line, at Testfile:1` {
		t.Error(err)
	}
}

// TestHide: no error of a block that hides repeats a value, also where the setter would.
func TestHide(t *testing.T) {
	block := new(settings).block()
	block.Hide = true
	for text, want := range map[string]string{
		"test hunter2":                  "unexpected value after test: write options into a block { }, one a line, at Testfile:1",
		"test {\nnumber hunter2\n}":     "number is not a whole number of 1 or more, at Testfile:2",
		"test {\nflag hunter2\n}":       "flag takes no value, it has one: write the word alone, or remove it, at Testfile:2",
		"test {\nduration hunter2\n}":   "duration is not a duration above 0, such as 2s, 6h or 1d, at Testfile:2",
		"test {\nsecret a hunter2\n}":   "secret takes one value, a placeholder such as {env.NAME} or {file./path}: it has 2, at Testfile:2",
		"test {\nwords hunter2,,bad\n}": "words has an empty value: remove the surplus comma, at Testfile:2",
	} {
		if err := read(block, text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestReword: the block is given what went wrong, and may say it otherwise. Inner blocks have their own words.
func TestReword(t *testing.T) {
	block := new(settings).block()
	var got []option.LineError
	block.Reword = func(m option.LineError) string {
		got = append(got, m)
		if m.Kind == option.Malformed {
			return "another text"
		}
		return ""
	}
	for text, want := range map[string]option.LineError{
		"test a":                  {Kind: option.Argument, Value: "a"},
		"test {\ntext a b\n}":     {Kind: option.Count, Word: "text", Takes: 1, Has: 2, Want: "a text"},
		"test {\nlist\n}":         {Kind: option.Count, Word: "list", Takes: option.Many, Want: "things"},
		"test {\ntext \"\"\n}":    {Kind: option.Empty, Word: "text", Takes: 1, Has: 1, Want: "a text"},
		"test {\nword a\n}":       {Kind: option.Malformed, Word: "word", Takes: 1, Value: "a", Want: "one of yes, no"},
		"test {\nflag {\nx\n}\n}": {Kind: option.NoBlock, Word: "flag"},
	} {
		got = nil
		err := read(block, text)
		if err == nil || len(got) != 1 {
			t.Fatalf("%q: %v, reworded %d times", text, err, len(got))
		}
		want.Block = "test"
		m := got[0]
		if m.Kind != want.Kind || m.Block != want.Block || m.Word != want.Word || m.Takes != want.Takes || m.Has != want.Has ||
			m.Want != want.Want || m.Value != want.Value {
			t.Errorf("%q: got %+v, want %+v", text, m, want)
		}
		if want.Kind == option.Malformed && err.Error() != "another text, at Testfile:2" {
			t.Error(err)
		}
	}
	got = nil
	if err := read(block, "test {\nsub {\nname\n}\n}"); err == nil || len(got) != 0 {
		t.Errorf("a mistake of an inner block: %v, reworded %d times", err, len(got))
	}
}

// TestOther: lines of somebody else are handed on, with their blocks, and what follows is read as before.
func TestOther(t *testing.T) {
	var s settings
	var others []string
	block := s.block()
	block.Other = func(d *caddyfile.Dispenser) error {
		for _, token := range d.NextSegment() {
			others = append(others, token.Text)
		}
		if others[len(others)-1] == "refuse" {
			return d.Err("refused")
		}
		return nil
	}
	err := read(block, "test {\ntheirs a {\nb\n}\ntext a\nmore\n}")
	if diff := cmp.Diff([]string{"theirs", "a", "{", "b", "}", "more"}, others); diff != "" || err != nil || s.Text != "a" {
		t.Errorf("text %q, error %v, others (-want +got):\n%s", s.Text, err, diff)
	}
	if err := read(block, "test {\nrefuse\n}"); err == nil || err.Error() != "refused, at Testfile:2" {
		t.Error(err)
	}
}

// TestInside: a block may stand inside of others, and what follows it is left alone.
func TestInside(t *testing.T) {
	for _, block := range []string{"", " {\n}", " {\ntext a\n}"} {
		d := caddyfile.NewTestDispenser("outer {\ntest" + block + "\nrest\n}")
		d.Next()
		d.NextBlock(0)
		if err := new(settings).block().Read(d); err != nil || !d.NextBlock(0) || d.Val() != "rest" {
			t.Errorf("%q: %v, then %q", block, err, d.Val())
		}
	}
}

func TestPeek(t *testing.T) {
	d := caddyfile.NewTestDispenser("a \"{\"\nb {\n}")
	for _, want := range []struct {
		at, next string
		opens    bool
	}{{"a", "{", false}, {"{", "b", false}, {"b", "{", true}, {"{", "}", false}, {"}", "", false}} {
		d.Next()
		if d.Val() != want.at || option.Peek(d).Text != want.next || option.OpensBlock(d) != want.opens || d.Val() != want.at {
			t.Errorf("at %q comes %q, opens a block: %t", d.Val(), option.Peek(d).Text, option.OpensBlock(d))
		}
	}
}

var namesLine = regexp.MustCompile(`, at Testfile:\d+$`)

// FuzzRead: no text makes the parser panic, its errors name a line, and what is accepted holds the limits.
func FuzzRead(f *testing.F) {
	for _, lines := range []string{
		"text a", "words a,b", "sub {\nname a\n}", "header a b", "flag {", "number 5\ndays 400", "size 1GB", "} text a", "lazy a\n\"", "two a",
	} {
		f.Add(lines, false)
		f.Add(lines, true)
	}
	f.Fuzz(func(t *testing.T, lines string, hide bool) {
		var s settings
		block := s.block()
		block.Hide = hide
		d := caddyfile.NewTestDispenser("test {\n" + lines + "\n}")
		d.Next()
		err := block.Read(d)
		switch {
		case err != nil && !namesLine.MatchString(err.Error()):
			t.Errorf("the error names no line: %v", err)
		case err == nil && (s.Days < 0 || s.Days > 365 || s.Share < 0 || s.Share > 1 || s.Size < 0 || s.Duration < 0 ||
			s.Timeout != 0 && (s.Timeout < caddy.Duration(time.Second) || s.Timeout > caddy.Duration(time.Minute)) || s.Checked > 5):
			t.Errorf("accepted: %+v", s)
		}
	})
}
