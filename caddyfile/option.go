package caddyfile

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// option is a word of a block and what its arguments set.
type option struct {
	word    string
	set     setter
	repeats bool // whether it may be given again, to add to what was given before
}

// setter reads the arguments of the option on whose word d stands.
type setter func(d *caddyfile.Dispenser) error

// options are the words of a block, in the order in which errors list them.
type options []option

// parse reads the block that may open on the line on which d stands. Words that are no options are given to other, which
// must read up to the end of their segment; without other they are errors. The name of the block is for errors.
func (o options) parse(d *caddyfile.Dispenser, block string, other func(*caddyfile.Dispenser)) error {
	if d.NextArg() {
		return d.Errf("unexpected %q after %s: write options into a block { }, one a line", d.Val(), block)
	}
	given := make(map[string]caddyfile.Token)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Token()
		i := slices.IndexFunc(o, func(o option) bool { return o.word == word.Text })
		if i < 0 {
			if other == nil {
				return d.Errf("unknown option %q of %s: use one of %s", word.Text, block, o)
			}
			other(d)
			continue
		}
		if first, ok := given[word.Text]; ok && !o[i].repeats {
			return d.Errf("duplicate option %q of %s: it is on line %d of %s already", word.Text, block, first.Line, first.File)
		}
		given[word.Text] = word
		if err := o[i].set(d); err != nil {
			return err
		}
		if next := peek(d); next.Text == "{" && next.Line == d.Line() {
			return d.Errf("option %q of %s takes no block", word.Text, block)
		}
	}
	return nil
}

// String lists the words.
func (o options) String() string {
	var list []string
	for _, option := range o {
		list = append(list, option.word)
	}
	return strings.Join(list, ", ")
}

// peek returns the token after the one on which d stands, or the zero token at the end.
func peek(d *caddyfile.Dispenser) caddyfile.Token {
	if !d.Next() {
		return caddyfile.Token{}
	}
	defer d.Prev()
	return d.Token()
}

// one returns the only argument of an option. Since it may be a secret, errors do not repeat it.
func one(d *caddyfile.Dispenser, what string) (string, error) {
	word := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return "", d.Errf("%s takes one value, %s: it has %d", word, what, len(args))
	}
	if args[0] == "" {
		return "", d.Errf("%s is empty: give it %s", word, what)
	}
	return args[0], nil
}

// value sets what parse makes of the only argument.
func value[T any](to *T, what string, parse func(string) (T, bool)) setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		arg, err := one(d, what)
		if err != nil {
			return err
		}
		v, ok := parse(arg)
		if !ok {
			return d.Errf("%s %q is not %s", word, arg, what)
		}
		*to = v
		return nil
	}
}

// text sets the only argument as it is.
func text(to *string, what string) setter {
	return value(to, what, func(arg string) (string, bool) { return arg, true })
}

// oneOf sets the only argument, which must be one of some words.
func oneOf(to *string, words ...string) setter {
	return value(to, "one of "+strings.Join(words, ", "), func(arg string) (string, bool) {
		return arg, slices.Contains(words, arg)
	})
}

// checked asks the module, once set has read the arguments, whether they make sense: here, its error names the line.
func checked(set setter, check func() error) setter {
	return func(d *caddyfile.Dispenser) error {
		if err := set(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}

// list appends the arguments as they are.
func list(to *[]string, what string) setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s needs a value: %s", word, what)
		}
		if slices.Contains(args, "") {
			return d.Errf("%s has an empty value: give %s", word, what)
		}
		*to = append(*to, args...)
		return nil
	}
}

// words appends the arguments, and the parts of arguments that commas separate, if parse accepts them.
func words[T any](to *[]string, what string, parse func(string) (T, error)) setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s needs a value: %s, separated by commas or spaces", word, what)
		}
		for _, arg := range args {
			for part := range strings.SplitSeq(arg, ",") {
				if part == "" {
					return d.Errf("%s has an empty value: remove the surplus comma", word)
				}
				if _, err := parse(part); err != nil {
					return d.WrapErr(err)
				}
				*to = append(*to, part)
			}
		}
		return nil
	}
}

func anyWord(word string) (string, error) { return word, nil }

// flag sets an option that has no arguments.
func flag(to *bool) setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if d.NextArg() {
			return d.Errf("%s takes no value, it has %q: write the word alone, or remove it", word, d.Val())
		}
		*to = true
		return nil
	}
}

// number sets a count. Zero is no count, since in the JSON it stands for the default.
func number(to *int, what string) setter {
	return value(to, what, func(arg string) (int, bool) {
		n, err := strconv.Atoi(arg)
		return n, err == nil && n > 0
	})
}

// share sets a part of one.
func share(to **float64) setter {
	return value(to, "a number from 0 to 1", func(arg string) (*float64, bool) {
		f, err := strconv.ParseFloat(arg, 64)
		return &f, err == nil && f >= 0 && f <= 1
	})
}

// size sets a number of bytes.
func size(to *int64) setter {
	return value(to, "a size such as 64MiB", func(arg string) (int64, bool) {
		n, err := humanize.ParseBytes(arg)
		return int64(n), err == nil && int64(n) > 0
	})
}

// duration sets a time. Zero is none, since in the JSON it stands for the default.
func duration(to *caddy.Duration) setter {
	return value(to, "a duration above 0, such as 2s, 6h or 1d", parseDuration)
}

func parseDuration(arg string) (caddy.Duration, bool) {
	t, err := caddy.ParseDuration(arg)
	return caddy.Duration(t), err == nil && t > 0
}

// wait sets how long a request waits, which may be not at all.
func wait(to **caddy.Duration) setter {
	return value(to, "a duration such as 25ms, or 0 to never wait", func(arg string) (*caddy.Duration, bool) {
		t, err := caddy.ParseDuration(arg)
		return new(caddy.Duration(t)), err == nil && t >= 0
	})
}

// ttl sets how long an answer holds that speaks against an address, and how long one that does not.
func ttl(listed, clean *caddy.Duration) setter {
	return func(d *caddyfile.Dispenser) error {
		var args [2]string
		if !d.AllArgs(&args[0], &args[1]) {
			return d.Err("ttl takes two durations, such as 6h 24h: one for listed addresses, one for clean ones")
		}
		for i, to := range []*caddy.Duration{listed, clean} {
			var ok bool
			if *to, ok = parseDuration(args[i]); !ok {
				return d.Errf("ttl %q is not a duration above 0, such as 6h", args[i])
			}
		}
		return nil
	}
}
