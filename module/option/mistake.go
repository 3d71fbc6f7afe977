package option

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Kind is what is wrong with a line.
type Kind int

// The kinds of mistakes.
const (
	// Argument is a value between the block's name and its opening brace, where none belongs.
	Argument Kind = iota + 1

	// Unknown is a word that is no option of the block.
	Unknown

	// Duplicate is an option that was given before and may be given once.
	Duplicate

	// NoBlock is a block behind an option that has none.
	NoBlock

	// Count is a wrong number of values.
	Count

	// Empty is a value without text.
	Empty

	// Malformed is a value that is not what the option takes.
	Malformed
)

// Many is what Takes is for options that take one value or more.
const Many = -1

// LineError is an error about a line of a block.
type LineError struct {
	Kind  Kind
	Block string // the name of the block
	Word  string // the option; the word as it is written if Unknown
	Takes int    // how many values the option takes, or Many
	Has   int    // how many there are, if Count
	Want  string // what the option takes, in the words of its setter
	Value string // the value at fault, if errors may repeat it

	Known []string        // the options of the block, if Unknown
	First caddyfile.Token // where the option was given before, if Duplicate

	cure string // of an empty value, where giving one is none
	text string // instead of what Error makes up
}

// Error says what is wrong, and the cure.
func (m *LineError) Error() string {
	if m.text != "" {
		return m.text
	}
	switch m.Kind {
	case Argument:
		return fmt.Sprintf("unexpected %s after %s: write options into a block { }, one a line", quoted(m.Value, "value"), m.Block)
	case Unknown:
		return fmt.Sprintf("unknown option %q of %s: use one of %s", m.Word, m.Block, strings.Join(m.Known, ", "))
	case Duplicate:
		return fmt.Sprintf("duplicate option %q of %s: it is on line %d of %s already", m.Word, m.Block, m.First.Line, m.First.File)
	case NoBlock:
		return fmt.Sprintf("option %q of %s takes no block", m.Word, m.Block)
	case Count:
		return m.Word + " " + m.countText()
	case Empty:
		return m.Word + " " + m.emptyText()
	case Malformed:
		return fmt.Sprintf("%s is not %s", strings.TrimSpace(m.Word+" "+quoted(m.Value, "")), m.Want)
	}
	return "mistake in option " + m.Word
}

func (m *LineError) countText() string {
	switch {
	case m.Takes == Many:
		return "needs a value: " + m.Want
	case m.Takes == 1:
		return fmt.Sprintf("takes one value, %s: it has %d", m.Want, m.Has)
	case m.Want != "":
		return "takes " + m.Want
	}
	return fmt.Sprintf("takes no value, it has %s: write the word alone, or remove it", quoted(m.Value, "one"))
}

func (m *LineError) emptyText() string {
	switch {
	case m.cure != "":
		return "has an empty value: " + m.cure
	case m.Takes == Many:
		return "has an empty value: give " + m.Want
	case m.Takes == 1:
		return "is empty: give it " + m.Want
	}
	return "takes " + m.Want
}

// quoted returns a value between quotes, or what stands for one that is not repeated.
func quoted(value, hidden string) string {
	if value == "" {
		return hidden
	}
	return fmt.Sprintf("%q", value)
}
