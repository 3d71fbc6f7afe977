package ban

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// By is who made an entry.
type By uint8

// Who makes entries.
const (
	// Operator: a person or a script, through the admin API.
	Operator By = iota
	// Rule: a rule of a site.
	Rule
	// Violation: what a client did on a site.
	Violation

	// NumBy is the number of those.
	NumBy = iota
)

var byNames = [NumBy]string{"operator", "rule", "violation"}

// String returns the word for it.
func (b By) String() string {
	if int(b) < len(byNames) {
		return byNames[b]
	}
	return fmt.Sprintf("By(%d)", uint8(b))
}

// MarshalText implements encoding.TextMarshaler.
func (b By) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *By) UnmarshalText(text []byte) error {
	i := slices.Index(byNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown maker %q of a ban: use operator, rule or violation", text)
	}
	*b = By(i)
	return nil
}

// Cause is what led to a ban that no operator made. The zero Cause is that of an operator's entry, which has a Reason
// instead.
type Cause struct {
	By        By     `json:"by"`
	Rule      string `json:"rule"`           // as a Caddyfile has it, or `violation trap`
	Site      string `json:"site,omitempty"` // the host of the request
	RequestID string `json:"request_id,omitempty"`

	// Times is how many such bans the client has had by now, with this one.
	Times int `json:"times"`
}

// Bounds of a cause. A line of the file holds all of it, with every character escaped.
const (
	maxCauseRule = 300
	maxCauseSite = 255
	maxRequestID = 128
	maxTimes     = 1000
)

// fit returns the cause within its bounds. Its texts may be those of a visitor.
func (c Cause) fit() Cause {
	c.Rule, c.Site, c.RequestID = fitText(c.Rule, maxCauseRule), fitText(c.Site, maxCauseSite), fitText(c.RequestID, maxRequestID)
	c.Times = min(c.Times, maxTimes)
	return c
}

// fitText returns what prints of a text, cut to so many bytes.
func fitText(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text[:min(len(text), 4*most)])
	for i, r := range text {
		if i+utf8.RuneLen(r) > most {
			return strings.Clone(text[:i])
		}
	}
	return strings.Clone(text) // not the whole request that it is a part of
}

// checkCause reports what is wrong with the cause of an entry.
func (e Entry) checkCause() error {
	c := e.Cause
	switch {
	case c == Cause{}:
		return nil
	case c.By == Operator || c.By >= NumBy:
		return errors.New("a cause names a rule or a violation: leave it out for an operator's entry")
	case e.Kind != Ban || e.Expires.IsZero() || e.Reason != "":
		return fmt.Errorf("a %s makes bans that end, and gives no reason of an operator's", c.By)
	case c.fit() != c:
		return errors.New("the cause is too long, or has characters that do not print")
	case c.Times < 1:
		return fmt.Errorf("%d is no number of bans: count from 1", c.Times)
	}
	return nil
}

// Why says in a line why an entry was made: the operator's reason, or the cause.
func (e Entry) Why() string {
	c := e.Cause
	if c.By == Operator {
		return e.Reason
	}
	text := c.By.String() + ` "` + c.Rule + `"`
	if c.By == Violation {
		text = c.Rule // it begins with the word
	}
	if c.Site != "" {
		text += " of " + c.Site
	}
	if c.RequestID != "" {
		text += ", request " + c.RequestID
	}
	if c.Times > 1 {
		text += fmt.Sprintf(", for the %s time", ordinal(c.Times))
	}
	return text
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprint(n) + suffix
}
