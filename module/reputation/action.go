package reputation

import (
	"fmt"
	"slices"
	"strings"
)

// Action is what a site does with a request.
type Action uint8

// The actions, from the mildest to the hardest.
const (
	// Pass hands the request on.
	Pass Action = iota
	// Limit answers with an error, because the client sends requests too fast.
	Limit
	// Block answers with an error.
	Block
	// Ban answers with an error, and bans the client.
	Ban
	// Drop closes the connection without an answer.
	Drop

	// NumActions is the number of actions.
	NumActions = iota
)

var actionNames = [NumActions]string{"pass", "limit", "block", "ban", "drop"}

// String returns the action's word.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// MarshalText writes the action's word.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// ParseAction returns the action with the given word.
func ParseAction(word string) (Action, error) {
	if i := slices.Index(actionNames[:], word); i >= 0 {
		return Action(i), nil
	}
	return 0, fmt.Errorf("unknown action %q: use one of %s", word, strings.Join(actionNames[:], ", "))
}
