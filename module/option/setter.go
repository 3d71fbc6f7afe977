package option

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// The argument want describes in errors what an option takes: "a duration such as 5s". Some setters
// have a default for "".
//
// A field may be a pointer, so that zero differs from not given.

// Text sets the only value as it is. Errors never repeat it.
func Text(to *string, want string) Setter {
	return Value(to, want, func(value string) (string, bool) { return value, true })
}

// Secret is Text for a secret. Errors recommend a placeholder and never repeat the value.
func Secret(to *string) Setter { return Text(to, "a placeholder such as {env.NAME} or {file./path}") }

// OneOf sets the only value, which must be one of the given words.
func OneOf(to *string, words ...string) Setter {
	return Value(to, "one of "+strings.Join(words, ", "), func(value string) (string, bool) {
		return value, slices.Contains(words, value)
	})
}

// Flag sets a field to true. The option has no values.
func Flag(to *bool) Setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if d.NextArg() {
			return d.WrapErr(&LineError{Kind: Count, Word: word, Has: 1, Value: d.Val()})
		}
		*to = true
		return nil
	}
}

// Switch sets a field to true for `on`, to false for `off`.
func Switch[T bool | *bool](to *T) Setter {
	return parsed(to, "on or off", func(value string) (bool, bool) {
		return value == "on", value == "on" || value == "off"
	})
}

// Number sets a whole number. The limits are its minimum and its maximum. Without limits it is 1 or
// more, since 0 means the default in most configurations.
func Number[T int | *int](to *T, want string, limits ...int) Setter {
	least, most := between(limits, 1, math.MaxInt)
	if want == "" {
		want = "a whole number " + interval(least, most, len(limits) > 1)
	}
	return parsed(to, want, func(value string) (int, bool) {
		n, err := strconv.Atoi(value)
		return n, err == nil && n >= least && n <= most
	})
}

// Share sets a part of one, from 0 to 1.
func Share[T float64 | *float64](to *T) Setter {
	return parsed(to, "a number from 0 to 1, such as 0.5", func(value string) (float64, bool) {
		f, err := strconv.ParseFloat(value, 64)
		return f, err == nil && f >= 0 && f <= 1
	})
}

// Size sets a number of bytes, above 0.
func Size[T int64 | *int64](to *T) Setter {
	return parsed(to, "a size such as 64MiB", func(value string) (int64, bool) {
		n, err := humanize.ParseBytes(value)
		return int64(n), err == nil && n > 0 && n <= math.MaxInt64
	})
}

// Duration sets a duration. The limits are its minimum and its maximum. Without limits it is above
// 0, which means the default in most configurations.
func Duration[T caddy.Duration | *caddy.Duration](to *T, want string, limits ...time.Duration) Setter {
	least, most := between(limits, 1, math.MaxInt64)
	switch {
	case want == "" && len(limits) == 0:
		want = "a duration above 0, such as 2s, 6h or 1d"
	case want == "":
		want = "a duration " + interval(least, most, len(limits) > 1)
	}
	return parsed(to, want, func(value string) (caddy.Duration, bool) {
		t, err := caddy.ParseDuration(value)
		return caddy.Duration(t), err == nil && t >= least && t <= most
	})
}

// between returns the given limits, and the defaults for those that are missing.
func between[T any](limits []T, least, most T) (T, T) {
	if len(limits) > 0 {
		least = limits[0]
	}
	if len(limits) > 1 {
		most = limits[1]
	}
	return least, most
}

func interval(least, most any, bounded bool) string {
	if bounded {
		return fmt.Sprintf("from %v to %v", least, most)
	}
	return fmt.Sprintf("of %v or more", least)
}

// Value sets the only value, parsed by parse. Errors repeat a value that parse refuses.
func Value[T any](to *T, want string, parse func(string) (T, bool)) Setter {
	return parsed(to, want, parse)
}

// parsed is Value for fields that may be pointers to the type that parse returns.
func parsed[F, V any](to *F, want string, parse func(string) (V, bool)) Setter {
	return func(d *caddyfile.Dispenser) error {
		word, value := d.Val(), ""
		if err := Values(want, &value)(d); err != nil {
			return err
		}
		v, ok := parse(value)
		if !ok {
			return d.WrapErr(&LineError{Kind: Malformed, Word: word, Takes: 1, Want: want, Value: value})
		}
		switch to := any(to).(type) {
		case *V:
			*to = v
		case **V:
			*to = &v
		}
		return nil
	}
}

// Values sets one value for each field. Errors never repeat them.
func Values(want string, to ...*string) Setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		values := d.RemainingArgs()
		m := &LineError{Word: word, Takes: len(to), Has: len(values), Want: want}
		switch {
		case len(values) != len(to):
			m.Kind = Count
			return d.WrapErr(m)
		case slices.Contains(values, ""):
			m.Kind = Empty
			return d.WrapErr(m)
		}
		for i, value := range values {
			*to[i] = value
		}
		return nil
	}
}

// List appends the values. There must be at least one.
func List(to *[]string, want string) Setter {
	return func(d *caddyfile.Dispenser) error {
		values, err := several(d, want)
		if err != nil {
			return err
		}
		*to = append(*to, values...)
		return nil
	}
}

// Words appends the values if parse accepts them. Values may also be separated by commas.
func Words[T any](to *[]string, want string, parse func(string) (T, error)) Setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		values, err := several(d, want+", separated by commas or spaces")
		if err != nil {
			return err
		}
		for _, value := range values {
			for part := range strings.SplitSeq(value, ",") {
				if part == "" {
					return d.WrapErr(&LineError{
						Kind: Empty, Word: word, Takes: Many, Has: len(values), Want: want,
						cure: "remove the surplus comma",
					})
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

// several returns the values of an option. There must be at least one, and none may be empty.
func several(d *caddyfile.Dispenser, want string) ([]string, error) {
	m := &LineError{Word: d.Val(), Takes: Many, Want: want}
	values := d.RemainingArgs()
	m.Has = len(values)
	switch {
	case len(values) == 0:
		m.Kind = Count
		return nil, d.WrapErr(m)
	case slices.Contains(values, ""):
		m.Kind = Empty
		return nil, d.WrapErr(m)
	}
	return values, nil
}

// Header sets an HTTP header: its name, which becomes canonical, and its value. Each name may be
// given once. The value may be a secret: errors never repeat it.
func Header(to *map[string]string) Setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		var name, value string
		if err := Values(`a name and a value, such as Authorization "Bearer {env.TOKEN}"`, &name,
			&value)(d); err != nil {
			return err
		}
		name = http.CanonicalHeaderKey(name)
		if _, ok := (*to)[name]; ok {
			return d.Errf("%s %s is given twice: remove one", word, name)
		}
		if *to == nil {
			*to = make(map[string]string)
		}
		(*to)[name] = value
		return nil
	}
}

// Sub reads a block into a new T. Errors name the block.
func Sub[T any](to **T, name string, options func(*T) []Option) Setter {
	return func(d *caddyfile.Dispenser) error {
		*to = new(T)
		return Read(d, name, options(*to)...)
	}
}
