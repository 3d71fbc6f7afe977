package listformat

import (
	"fmt"
	"io"
	"strings"
)

// Encoding is the notation of a list.
type Encoding string

// Format says how a list is written.
type Format struct {
	// Encoding is the notation. Default: Text.
	Encoding Encoding

	// Members are the JSON members, or the one CSV column, that hold an address or CIDR. An object
	// may have several of them, such as ipv4Prefix and ipv6Prefix. Text has none.
	Members []string

	// MinCount, when above 0, lists only entries whose second field
	// is at least this number. For Text only.
	MinCount int
}

// notation is what this package knows about one Encoding.
type notation struct {
	encoding Encoding
	counted  bool // MinCount may be set
	// what is wrong with the members; nil: nothing can be
	check func(f *Format) error
	read  func(r io.Reader, f *Format, c *collector) error // gives each entry to c
}

// notations are all formats, in the order in which errors name them.
var notations = []notation{text, ndjson, jsonDocument, csvTable}

// notation returns the row of the format, which must have passed Complete.
func (f *Format) notation() *notation {
	for i := range notations {
		if notations[i].encoding == f.Encoding {
			return &notations[i]
		}
	}
	return nil
}

// Complete sets what has a default, and returns an error if the format contradicts itself.
func (f *Format) Complete() error {
	if f.Encoding == "" {
		f.Encoding = Text
	}
	n := f.notation()
	if n == nil {
		return fmt.Errorf("unknown format %q: use %s", f.Encoding, names())
	}
	if n.check != nil {
		if err := n.check(f); err != nil {
			return err
		}
	}
	if f.MinCount < 0 || f.MinCount > 0 && !n.counted {
		return fmt.Errorf("minimum count %d: use a positive number, with the text format", f.MinCount)
	}
	return nil
}

// names returns the formats for an error: "a, b or c".
func names() string {
	all := make([]string, len(notations))
	for i := range notations {
		all[i] = string(notations[i].encoding)
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " or " + all[last]
}
