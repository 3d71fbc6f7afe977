package option

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Kind is the kind of an error.
type Kind int

// The kinds of errors.
const (
	// Argument is an unexpected value between the block's name and its opening brace.
	Argument Kind = iota + 1

	// Unknown is a word that is not an option of the block.
	Unknown

	// Duplicate is a second occurrence of an option that may be given once.
	Duplicate

	// NoBlock is a block after an option that takes none.
	NoBlock

	// Count is a wrong number of values.
	Count

	// Empty is an empty value.
	Empty

	// Malformed is a value of the wrong form.
	Malformed
)

// Many is the value of Takes for options that take one value or more.
const Many = -1

// LineError is an error about a line of a block.
type LineError struct {
	Kind  Kind
	Block string // the name of the block
	Word  string // the option, or the unknown word
	Takes int    // how many values the option takes, or Many
	Has   int    // how many values there are, if Count
	Want  string // describes what the option takes
	Value string // the wrong value, if errors may repeat it

	Known []string        // the options of the block, if Unknown
	First caddyfile.Token // where the option was given before, if Duplicate

	cure string // of an empty value, unless it is to give a value
	text string // of Block.Reword
}

// Error describes the error and the cure.
func (e *LineError) Error() string {
	if e.text != "" {
		return e.text
	}
	switch e.Kind {
	case Argument:
		return fmt.Sprintf("unexpected %s after %s: write options into a block { }, one a line",
			quoted(e.Value, "value"), e.Block)
	case Unknown:
		return fmt.Sprintf("unknown option %q of %s: use one of %s", e.Word, e.Block,
			strings.Join(e.Known, ", "))
	case Duplicate:
		return fmt.Sprintf("duplicate option %q of %s: it is on line %d of %s already", e.Word,
			e.Block, e.First.Line, e.First.File)
	case NoBlock:
		return fmt.Sprintf("option %q of %s takes no block", e.Word, e.Block)
	case Count:
		return e.Word + " " + e.countText()
	case Empty:
		return e.Word + " " + e.emptyText()
	case Malformed:
		return fmt.Sprintf("%s is not %s", strings.TrimSpace(e.Word+" "+quoted(e.Value, "")), e.Want)
	}
	return "mistake in option " + e.Word
}

func (e *LineError) countText() string {
	switch {
	case e.Takes == Many:
		return "needs a value: " + e.Want
	case e.Takes == 1:
		return fmt.Sprintf("takes one value, %s: it has %d", e.Want, e.Has)
	case e.Want != "":
		return "takes " + e.Want
	}
	return fmt.Sprintf("takes no value, it has %s: write the word alone, or remove it", quoted(e.Value, "one"))
}

func (e *LineError) emptyText() string {
	switch {
	case e.cure != "":
		return "has an empty value: " + e.cure
	case e.Takes == Many:
		return "has an empty value: give " + e.Want
	case e.Takes == 1:
		return "is empty: give it " + e.Want
	}
	return "takes " + e.Want
}

// quoted returns a value in quotes, or hidden if the value must not be repeated.
func quoted(value, hidden string) string {
	if value == "" {
		return hidden
	}
	return fmt.Sprintf("%q", value)
}
