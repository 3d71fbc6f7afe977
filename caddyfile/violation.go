package caddyfile

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
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

// readPairs reads options that stand behind a name on the current line of d, each word before its value. A flag has none.
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
