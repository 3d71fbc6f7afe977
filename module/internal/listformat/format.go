package listformat

import (
	"bufio"
	"fmt"
	"strings"
)

// Encoding is the notation of a list.
type Encoding string

// Format is the form of a list.
type Format struct {
	// Encoding is the notation. With "", it is found by looking at the beginning of the list.
	Encoding Encoding

	// Members are the JSON members that hold an address or CIDR, or several of them in an array.
	// They are named as they are within an entry, such as ip, or within the whole document, such as
	// data.ip; arrays on the way are not named. With [] for arrays or * for any name, a member is a
	// path from the whole document, such as prefixes[].ipv4Prefix or *.ip.
	//
	// In CSV, Members is the name or the number of one column, and in ipset the names of sets. Other
	// notations have none. With none, addresses must stand in one place only, and are found there.
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
	read  func(r *bufio.Reader, f *Format, c *collector) error // gives each entry to c
	// looks recognises a line; nil: by other means. The line is not blank, no comment, and without
	// spaces around it.
	looks func(c *collector, line []byte) bool
}

// notations are all formats, in the order in which errors name them. A line is looked at from the last
// to the first: text is the most general.
var notations = []notation{
	text, ranges, dshield, csvTable, jsonDocument, ndjson, ipset, iptables, nginx, apache, hosts, onionoo,
}

// Encodings returns the notations that an operator may name.
func Encodings() []string {
	all := make([]string, len(notations))
	for i := range notations {
		all[i] = string(notations[i].encoding)
	}
	return all
}

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
	if f.Encoding == "" && f.MinCount != 0 {
		f.Encoding = Text
	}
	if f.Encoding == "" {
		return checkMembers(f)
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
	all := Encodings()
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " or " + all[last]
}
