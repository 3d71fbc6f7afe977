package guest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Value returns the value in a stored text: one member if the text is a JSON object, otherwise the
// text itself. A line break at the end, which editors and shells add, is removed.
//
// An object is never used as a whole: all its other members would be sent to a
// service as part of the key.
func Value(text, member string) (string, error) {
	object, isObject := parseObject(text)
	switch {
	case member != "" && !isObject:
		return "", fmt.Errorf("%w: what is stored is no JSON object, so it has no member %q: remove field",
			reputation.ErrUnknown, member)
	case member != "":
		return Member(object, member)
	case isObject:
		return "", fmt.Errorf("%w: what is stored is a JSON object: say with field which of its members to use",
			reputation.ErrUnknown)
	}
	return notEmpty("what is stored", text)
}

// Member returns one member of an object.
func Member(object map[string]any, member string) (string, error) {
	what := fmt.Sprintf("the member %q of what is stored", member)
	switch value := object[member].(type) {
	case string:
		return notEmpty(what, value)
	case json.Number:
		return value.String(), nil
	case nil:
		return "", fmt.Errorf("%w: what is stored has no member %q: set field to one that it has",
			reputation.ErrUnknown, member)
	}
	return "", fmt.Errorf("%w: %s is neither text nor a number", reputation.ErrUnknown, what)
}

func notEmpty(what, text string) (string, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if text == "" {
		return "", fmt.Errorf("%w: %s is empty: store the secret there", reputation.ErrUnknown, what)
	}
	return text, nil
}

func parseObject(text string) (object map[string]any, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	ok = decoder.Decode(&object) == nil && object != nil && !decoder.More()
	return object, ok
}

// ExpiryForms is the cure for a text that ParseExpiry cannot read.
const ExpiryForms = "write a day such as 2027-03-31, or a time such as 2027-03-31T12:00:00Z"

// ParseExpiry reads the time at which a secret expires, from a tag by the operator: a day, at whose
// end the secret expires (in UTC), or a time as in RFC 3339.
func ParseExpiry(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), true
	}
	end, err := time.Parse(time.RFC3339, text)
	return end.UTC(), err == nil && !end.IsZero()
}

// Earlier returns the earlier of two times. A zero time counts as missing.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
