package postgres

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	cursorVersion = "1"
	maxCursor     = 4096 // hosts and rules are in it
)

// cursor marks where a page ends: Next of an answer. It contains the period, so that all pages are
// about the same time even if the query ends "now".
type cursor struct {
	Of     string       `json:"q"`          // the kind of query
	Prefix netip.Prefix `json:"p,omitzero"` // of the query; in rankings, of the last row
	From   int64        `json:"f"`          // microseconds since 1970, like To
	To     int64        `json:"t"`

	// In timelines and changes: the last entry.
	Minute  int64 `json:"m,omitempty"`
	At      int64 `json:"a,omitempty"`
	Verdict bool  `json:"v,omitempty"`
	ID      int64 `json:"i,omitempty"`

	Incident bool `json:"c,omitempty"`

	// In rankings: the last row.
	Refused  int64  `json:"x,omitempty"`
	Requests int64  `json:"n,omitempty"`
	Host     string `json:"h,omitempty"`
	Rule     string `json:"r,omitempty"`
	Action   string `json:"d,omitempty"`
	Mode     string `json:"o,omitempty"`
}

// String encodes the cursor as text that needs no escaping in a URL.
func (c cursor) String() string {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err) // unreachable: every cursor has a JSON form
	}
	return cursorVersion + base64.RawURLEncoding.EncodeToString(data)
}

var errCursor = fmt.Errorf(
	"%w: after is not the next of an earlier answer; give it unchanged, or leave it out for the first page",
	history.ErrQuery)

// parseCursor parses the result of String. The text comes from a client: every cursor that it
// returns is safe to use in a query.
func parseCursor(text string) (cursor, error) {
	encoded, ok := strings.CutPrefix(text, cursorVersion)
	if !ok || len(text) > maxCursor {
		return cursor{}, errCursor
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return cursor{}, errCursor
	}
	var c cursor
	if err := json.Unmarshal(data, &c); err != nil {
		return cursor{}, errCursor
	}
	if err := c.check(); err != nil {
		return cursor{}, errCursor
	}
	return c, nil
}

// kind returns the kind of the last entry.
func (c cursor) kind() entryKind {
	switch {
	case c.Incident:
		return ofIncident
	case c.Verdict:
		return ofVerdict
	}
	return ofDecision
}

func (c cursor) check() error {
	for _, micro := range []int64{c.From, c.To, c.Minute, c.At} {
		if !storable(time.UnixMicro(micro)) {
			return errors.New("time out of range")
		}
	}
	if c.Prefix != c.Prefix.Masked() {
		return errors.New("prefix with an address")
	}
	if strings.ContainsRune(c.Of+c.Host+c.Rule+c.Action+c.Mode, 0) {
		return errors.New("text that the database does not take")
	}
	return nil
}

// storable reports whether the database and JSON can represent a time.
func storable(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 1 && year <= 9999
}
