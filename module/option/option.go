// Package option reads the options of a Caddyfile block, one a line, into the fields of a configuration.
//
// A block is a table: each option is a word, a setter for what stands behind the word, and whether the word may be repeated.
//
//	err := option.Read(d, "example",
//		option.Once("url", option.Text(&c.URL, "an address such as https://api.example.com")),
//		option.Once("timeout", option.Duration(&c.Timeout, "", time.Millisecond, time.Minute)),
//		option.Repeated("header", option.Header(&c.Header)),
//	)
//
// Errors name the word, what it takes, the cure and the line. They repeat a value only where it is a number, a duration or
// another value of which the form is wrong: never a text, which may be a secret, and none at all in a Block with Hide.
//
// Setters write into fields as they read. After an error the configuration is half filled, and of no use.
package option

import (
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Setter reads the values of an option. It is called when d stands on the option's word, and must read up to the end of the
// line, or of the block that opens there. Its errors must name the line: make them with d.Err, d.Errf or d.WrapErr.
//
// A directive may call a setter itself, to read what stands behind its own word.
type Setter func(d *caddyfile.Dispenser) error

// Option is a word of a block.
type Option struct {
	// Word is what the operator writes.
	Word string

	// Set reads what stands behind the word.
	Set Setter

	// Repeats is whether the word may be given again, to add to what was given before.
	Repeats bool
}

// Once is an option that may be given once. The checks are called in order when its values have been read, and their errors
// get the line.
func Once(word string, set Setter, checks ...func() error) Option {
	return Option{Word: word, Set: checked(set, checks)}
}

// Repeated is an option that may be given several times. The checks are called each time.
func Repeated(word string, set Setter, checks ...func() error) Option {
	return Option{Word: word, Set: checked(set, checks), Repeats: true}
}

func checked(set Setter, checks []func() error) Setter {
	if len(checks) == 0 {
		return set
	}
	return func(d *caddyfile.Dispenser) error {
		if err := set(d); err != nil {
			return err
		}
		for _, check := range checks {
			if err := check(); err != nil {
				return d.WrapErr(err)
			}
		}
		return nil
	}
}

// Block is a block of options.
type Block struct {
	// Name is what the block is called in errors, such as "redis".
	Name string

	// Options are the words of the block, in the order in which errors list them.
	Options []Option

	// Other reads a line whose word is no option, and the block that opens on it, up to its end: for blocks that have words
	// of somebody else in them. Without it, such a word is an error.
	Other Setter

	// Reword may return another text for a mistake; with "" it has its own. The line is added to both.
	Reword func(LineError) string

	// Hide is whether any value may be a secret in the wrong place: errors repeat none of them.
	Hide bool
}

// Read reads the block that may open on the line on which d stands. The arguments before it must have been read. Setters
// with blocks of their own are for blocks inside of blocks.
func Read(d *caddyfile.Dispenser, name string, options ...Option) error {
	return Block{Name: name, Options: options}.Read(d)
}

// Read reads the block that may open on the line on which d stands. The arguments before it must have been read.
func (b Block) Read(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return b.refuse(d, &LineError{Kind: Argument, Value: d.Val()})
	}
	given := make(map[string]caddyfile.Token)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Token()
		i := slices.IndexFunc(b.Options, func(o Option) bool { return o.Word == word.Text })
		if i < 0 && b.Other != nil {
			if err := b.Other(d); err != nil {
				return err
			}
			continue
		}
		if i < 0 {
			return b.refuse(d, &LineError{Kind: Unknown, Word: word.Text, Known: b.words()})
		}
		if first, ok := given[word.Text]; ok && !b.Options[i].Repeats {
			return b.refuse(d, &LineError{Kind: Duplicate, Word: word.Text, First: first})
		}
		given[word.Text] = word
		if err := b.Options[i].Set(d); err != nil {
			return b.explain(d, err)
		}
		if OpensBlock(d) {
			return b.refuse(d, &LineError{Kind: NoBlock, Word: word.Text})
		}
		if d.NextArg() { // a setter that left something would make an option of it
			return b.refuse(d, &LineError{Kind: Count, Word: word.Text, Want: "fewer values"})
		}
	}
	return nil
}

// refuse returns the error for a mistake in this block, with the line.
func (b Block) refuse(d *caddyfile.Dispenser, m *LineError) error {
	m.Block = b.Name
	if b.Hide {
		m.Value = ""
	}
	if b.Reword != nil {
		m.text = b.Reword(*m)
	}
	return d.WrapErr(m)
}

// explain rewords the error of a setter, where it is a mistake that no inner block has explained.
func (b Block) explain(d *caddyfile.Dispenser, err error) error {
	if m, ok := errors.AsType[*LineError](err); ok && m.Block == "" {
		return b.refuse(d, m)
	}
	return err
}

func (b Block) words() []string {
	words := make([]string, len(b.Options))
	for i, o := range b.Options {
		words[i] = o.Word
	}
	return words
}

// Peek returns the token after the one on which d stands, or the zero token at the end.
func Peek(d *caddyfile.Dispenser) caddyfile.Token {
	if !d.Next() {
		return caddyfile.Token{}
	}
	defer d.Prev()
	return d.Token()
}

// OpensBlock reports whether a block opens right behind the token on which d stands.
func OpensBlock(d *caddyfile.Dispenser) bool {
	at, next := d.Token(), Peek(d)
	return next.Text == "{" && !next.Quoted() && next.File == at.File && next.Line == at.Line+at.NumLineBreaks()
}
