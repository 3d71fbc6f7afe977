package rest

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// maxDepth is how deep lists and objects may be nested. Services stay below ten.
	maxDepth = 64

	// maxElements is how many elements a list or an object may have. Each becomes a value in memory that may be a
	// hundred times as large as its text. Scanners of all 65,536 ports have less than this many in an answer of 1 MiB.
	maxElements = 50_000
)

// Decode reads one JSON document of an answer. Its errors wrap
// reputation.ErrBadAnswer and do not quote the answer.
func Decode(body []byte, into any) error {
	if err := checkShape(body); err != nil {
		return err
	}
	err := json.Unmarshal(body, into)
	if err == nil {
		return nil
	}
	if errors.Is(err, errEntries) {
		return fmt.Errorf("%w: it has more than %d entries", reputation.ErrBadAnswer, maxEntries)
	}
	// use only the name of the member, which is a name of our type:
	// the rest of the error quotes the body
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return fmt.Errorf("%w: %q is of another type", reputation.ErrBadAnswer, wrong.Field)
	}
	if json.Valid(body) {
		return fmt.Errorf("%w: it is of another type", reputation.ErrBadAnswer)
	}
	return fmt.Errorf("%w: its body is not JSON", reputation.ErrBadAnswer)
}

// Message returns an API.Detail that reads a member of a JSON body, such as "error". With several names, each is a member
// of the one before.
func Message(path ...string) func(body []byte) string {
	return func(body []byte) string {
		for _, name := range path {
			var object map[string]json.RawMessage
			if Decode(body, &object) != nil {
				return ""
			}
			body = object[name]
		}
		var text string
		_ = json.Unmarshal(body, &text) // where it is no text, the status says enough
		return text
	}
}

func (a *Response) decode(into any) error { return Decode(a.body, into) }

// checkShape returns an error for a body that is nested too deep, or has a list or an object with too many elements.
// Of what is no JSON it may return nil.
func checkShape(body []byte) error {
	var elements [maxDepth + 1]int // by depth, in the innermost lists and objects that are open
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("%w: it is nested more than %d deep", reputation.ErrBadAnswer, maxDepth)
			}
			elements[depth] = 0
		case c == '}', c == ']':
			if depth--; depth < 0 {
				return nil
			}
		case c == ',':
			if elements[depth]++; elements[depth] >= maxElements {
				return fmt.Errorf("%w: it has a list of more than %d elements", reputation.ErrBadAnswer, maxElements)
			}
		}
	}
	return nil
}
