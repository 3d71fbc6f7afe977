package caddyfile

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/handler"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// violation reads what a violation costs, and appends it. Syntax:
//
//	violation <name> [<option> <value>...] {
//		points    <above 0 to 60>
//		half_life <duration>
//		free      <number>
//		most      <points>
//		category  <category>
//		ban       <duration>
//		report
//	}
//
// The options stand in the block, or behind the name without braces: `violation trap points 60 half_life 7d ban 24h`.
// Caddy reads no block on one line.
func violation(to *[]module.Violation) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Err("violation needs a name, such as login_failed, and what each costs, such as points 3")
		}
		v := module.Violation{Name: d.Val()}
		options := violationOptions(&v)
		if option.OpensBlock(d) {
			if err := option.Read(d, "violation "+v.Name, options...); err != nil {
				return err
			}
		} else if err := readPairs(d, "violation "+v.Name, "report", options); err != nil {
			return err
		}
		*to = append(*to, v)
		return nil
	}
}

func violationOptions(v *module.Violation) []option.Option {
	return []option.Option{
		option.Once("points", points(&v.Points)),
		option.Once("half_life", option.Duration(&v.HalfLife, "a duration from 1s to 180d, such as 1h or 7d", time.Second)),
		option.Once("free", option.Number(&v.Free, "a number of violations that cost nothing, such as 4", 0)),
		option.Once("most", points(&v.Most)),
		option.Once("category", option.Text(&v.Category, "a category, such as bruteforce")),
		option.Once("ban", option.Duration(&v.Ban, "a duration such as 24h, or 0 to ban nobody", 0)),
		option.Once("report", option.Flag(&v.Report)),
	}
}

// points sets a number of points, which need not be whole.
func points(to *float64) option.Setter {
	return option.Value(to, "a number above 0 and at most 60, such as 3 or .5", func(value string) (float64, bool) {
		f, err := strconv.ParseFloat(value, 64)
		return f, err == nil && f > 0 && !math.IsInf(f, 0)
	})
}

// readPairs reads options that stand behind a name on the current line of d, each word before its value. A flag has
// none.
func readPairs(d *caddyfile.Dispenser, block, flag string, options []option.Option) error {
	words := make([]string, len(options))
	for i := range options {
		words[i] = options[i].Word
	}
	given := make(map[string]caddyfile.Token)
	for d.NextArg() {
		word := d.Token()
		mistake := option.LineError{Block: block, Word: word.Text, Known: words}
		i := slices.Index(words, word.Text)
		if i < 0 {
			mistake.Kind = option.Unknown
			return d.WrapErr(&mistake)
		}
		if first, ok := given[word.Text]; ok {
			mistake.Kind, mistake.First = option.Duplicate, first
			return d.WrapErr(&mistake)
		}
		given[word.Text] = word
		pair := []caddyfile.Token{word}
		if word.Text != flag && d.NextArg() {
			pair = append(pair, d.Token())
		}
		line := caddyfile.NewDispenser(pair)
		line.Next()
		if err := options[i].Set(line); err != nil {
			return err
		}
	}
	return nil
}

// violationRule reads what a site takes for a violation, and appends it. Syntax:
//
//	violation <name> @<matcher>|<condition> <values>...
//
// Conditions are `path <path>...`, `not_path <path>...`, `method <method>...`, `status <status>...` and
// `header <field> <value>`, with spaces or commas between several values. All on a line must hold; several lines of a
// name are alternatives.
func violationRule(h httpcaddyfile.Helper, to *[]handler.ViolationRule) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var r handler.ViolationRule
		if d.NextArg() {
			r.Name = d.Val()
		}
		given := map[string]bool{}
		for d.NextArg() {
			word := d.Val()
			if given[word] && word != "header" {
				return d.Errf("violation %s: %s is given twice: write all values behind one, or a line for each", r.Name, word)
			}
			given[word] = true
			if err := violationCondition(h.WithDispenser(d), &r, word); err != nil {
				return err
			}
		}
		*to = append(*to, r)
		return nil
	}
}

// violationWords are the words that begin a condition of a violation.
var violationWords = []string{"path", "not_path", "method", "status", "header"}

// violationCondition reads one condition, with d at its word.
func violationCondition(h httpcaddyfile.Helper, r *handler.ViolationRule, word string) error {
	switch word {
	case "path":
		return violationValues(h.Dispenser, &r.Path)
	case "not_path":
		return violationValues(h.Dispenser, &r.NotPath)
	case "method":
		return violationValues(h.Dispenser, &r.Method)
	case "status":
		return violationValues(h.Dispenser, &r.Status)
	case "header":
		var field, value string
		if !h.Args(&field, &value) {
			return h.Err("header takes the name of a field of the response and a value, such as X-Login failed")
		}
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Add(field, value)
		return nil
	}
	if !strings.HasPrefix(word, "@") {
		return h.Errf("violation %s: unknown condition %q: use one of %s, or the name of a matcher, such as @mine",
			r.Name, word, strings.Join(violationWords, ", "))
	}
	return namedMatcher(h, "violation "+r.Name, &r.MatcherSetsRaw)
}

// namedMatcher reads the name of a matcher, with h at it. A line takes one.
func namedMatcher(h httpcaddyfile.Helper, line string, to *caddyhttp.RawMatcherSets) error {
	if *to != nil {
		return h.Errf("%s: a line takes one matcher: put the conditions of both into one, or write a line for each", line)
	}
	h.Prev()
	set, _, err := h.MatcherToken()
	if err != nil {
		return h.WrapErr(err)
	}
	*to = caddyhttp.RawMatcherSets{set}
	return nil
}

// violationValues sets a field to the values up to the next condition. There must be one.
func violationValues(d *caddyfile.Dispenser, to *[]string) (err error) {
	word := d.Val()
	written := valuesWhile(d, func(value string, _ []string) bool {
		return !slices.Contains(violationWords, value) && !strings.HasPrefix(value, "@")
	})
	if len(written) == 0 {
		return d.Errf("%s needs a value", word)
	}
	if *to, err = handler.SplitValues(word, written); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// violationSets reads which violations a site has besides those that it names.
func violationSets(site *handler.Handler) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		const want = "default, from_application, or both"
		var words []string
		if err := option.List(&words, want)(d); err != nil {
			return err
		}
		for _, word := range words {
			to := map[string]*bool{
				"default": &site.ViolationsDefault, "from_application": &site.ViolationsFromApplication,
			}[word]
			switch {
			case to == nil:
				return d.Errf("violations %q is unknown: use %s; one of a name is written `violation <name> <condition>`",
					word, want)
			case *to:
				return d.Errf("violations %s is given twice: remove one", word)
			}
			*to = true
		}
		return nil
	}
}

// signedIn reads how a request shows that its visitor has signed in.
func signedIn(to **handler.SignedIn) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var words []string
		if err := option.List(&words, "cookie or header, and names")(d); err != nil {
			return err
		}
		if *to == nil {
			*to = new(handler.SignedIn)
		}
		switch {
		case len(words) == 1 || words[0] != "cookie" && words[0] != "header":
			return d.Errf("signed_in takes cookie or header, and names, such as `signed_in cookie session`")
		case words[0] == "cookie":
			(*to).Cookie = append((*to).Cookie, words[1:]...)
		default:
			(*to).Header = append((*to).Header, words[1:]...)
		}
		return nil
	}
}
