package rest

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxDepth is how deep arrays and objects may be nested. Services stay below ten.
const maxDepth = 64

// Decode reads one JSON document of an answer. Its errors wrap
// reputation.ErrBadAnswer and do not quote the answer.
func Decode(body []byte, into any) error {
	if tooDeep(body) {
		return fmt.Errorf("%w: it is nested more than %d deep", reputation.ErrBadAnswer, maxDepth)
	}
	err := json.Unmarshal(body, into)
	if err == nil {
		return nil
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

func (a *Answer) decode(into any) error { return Decode(a.body, into) }

// tooDeep reports whether brackets are nested more than maxDepth
// deep. The result is undefined for invalid JSON.
func tooDeep(body []byte) bool {
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
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}
