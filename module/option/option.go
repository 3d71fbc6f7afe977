// Package option reads the options of a Caddyfile block, one a line,
// into the fields of a configuration.
//
// A block is a table of options. Each has a word, a setter that reads
// its values, and may be repeated or not.
//
//	err := option.Read(d, "example",
//		option.Once("url", option.Text(&c.URL, "an address such as https://api.example.com")),
//		option.Once("timeout", option.Duration(&c.Timeout, "", time.Millisecond, time.Minute)),
//		option.Repeated("header", option.Header(&c.Header)),
//	)
//
// Errors name the word, the values it takes, the cure and the line. They repeat a wrong value only
// if it should be a number, a duration or of another fixed form. They never repeat texts, which may
// be secrets, and with Block.Hide they repeat no values.
//
// Setters write into fields while they read. After an error the
// configuration is incomplete and must not be used.
package option

import (
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Setter reads the values of an option. It is called with d at the option's word, and must read up
// to the end of the line, or of the block that opens there. Its errors must name the line: create
// them with d.Err, d.Errf or d.WrapErr.
//
// A directive may call a setter directly, to read the values after its own word.
type Setter func(d *caddyfile.Dispenser) error

// Option is a word of a block.
type Option struct {
	// Word is the name of the option in the Caddyfile.
	Word string

	// Set reads the values after the word.
	Set Setter

	// Repeats allows the option several times. Each adds to the values before.
	Repeats bool
}

// Once is an option that may be given once. After its values were read, the checks are called in
// order. The line of the option's word is added to their errors.
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
		word := *d // a block may follow, which ends on another line
		if err := set(d); err != nil {
			return err
		}
		for _, check := range checks {
			if err := check(); err != nil {
				return word.WrapErr(err)
			}
		}
		return nil
	}
}

// Block is a block of options.
type Block struct {
	// Name is the name of the block in errors, such as "redis".
	Name string

	// Options are the words of the block, in the order in which errors list them.
	Options []Option

	// Other reads a line whose word is not an option, and the block
	// that opens on it, up to its end. It is for blocks that also have
	// words of another package. Without it, such a word is an error.
	Other Setter

	// Reword may return another text for an error, or "" for the
	// usual one. The line is added to either.
	Reword func(LineError) string

	// Hide is for blocks in which any value may be a misplaced secret: errors repeat no values.
	Hide bool
}

// Read reads the block that may open on the current line of d. The arguments before the block must
// have been read. For a block inside a block, use a setter that reads one, such as Sub.
func Read(d *caddyfile.Dispenser, name string, options ...Option) error {
	return Block{Name: name, Options: options}.Read(d)
}

// Read reads the block that may open on the current line of d. The
// arguments before the block must have been read.
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
		if d.NextArg() { // otherwise a value that the setter left would be read as an option
			return b.refuse(d, &LineError{Kind: Count, Word: word.Text, Want: "fewer values"})
		}
	}
	return nil
}

// refuse completes an error of this block, and adds the line.
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

// explain completes the error of a setter, unless an inner block has done so.
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

// Peek returns the next token of d, or the zero token at the end.
func Peek(d *caddyfile.Dispenser) caddyfile.Token {
	if !d.Next() {
		return caddyfile.Token{}
	}
	defer d.Prev()
	return d.Token()
}

// OpensBlock reports whether a block opens right after the current token of d.
func OpensBlock(d *caddyfile.Dispenser) bool {
	at, next := d.Token(), Peek(d)
	return next.Text == "{" && !next.Quoted() && next.File == at.File && next.Line == at.Line+at.NumLineBreaks()
}
