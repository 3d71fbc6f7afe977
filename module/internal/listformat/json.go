package listformat

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
)

// JSON is an array, or an object of which some members are arrays. The elements of these arrays are
// the entries: strings, or objects whose members hold a string or an array of strings.
//
// A member is named as it is within an entry, or within the whole document. Names of nested members
// are joined by dots; arrays between them are not named.
const JSON Encoding = "json"

var jsonDocument = notation{encoding: JSON, read: readJSON} // entries that are strings need no member

func readJSON(r io.Reader, f *Format, c *collector) error {
	c.unit = "entry"
	d := newJSONList(f.Members, c)
	d.scan.in = bufio.NewReader(r)
	err := d.document()
	if err == nil {
		var ended bool
		if ended, err = d.scan.end(); err == nil && !ended {
			return refuse(ErrUnparsable, "more follows the JSON document: use the ndjson format for one object a line")
		}
	}
	if wrong := (*jsonError)(nil); errors.As(err, &wrong) {
		return refuse(ErrUnparsable, "the JSON document %w", wrong)
	}
	return err
}

// jsonList collects what the members name in a document.
type jsonList struct {
	scan    jsonScanner
	members []string
	lacks   string // what is wrong with an entry in which no member is found
	c       *collector

	path   []byte // the names that lead to the current value, joined by dots
	entry  int    // where in the path the names within the entry begin; -1 outside of entries
	number int    // of the entry

	named        int  // values that the members name
	inEntries    bool // one of them is named as it is within an entry
	arrays       int  // members of the document that are arrays
	unnamed      int  // their strings that no member names
	lacking      int  // their objects in which no member is found
	firstLacking int

	line       []byte // of NDJSON, for errors
	isMetadata bool   // likewise
}

func newJSONList(members []string, c *collector) *jsonList {
	lacks := "has no member " + strings.Join(members, " or ")
	if len(members) == 0 {
		lacks = "is an object, and no member of it is named"
	}
	return &jsonList{members: members, lacks: lacks, c: c, entry: -1}
}

func (d *jsonList) document() error {
	switch b, err := d.scan.next(); {
	case err != nil:
		return err
	case b == '[':
		return d.scan.array(func() error { return d.element(true) })
	case b != '{':
		return refuse(ErrUnparsable, "the JSON document is neither an array nor an object")
	}
	if err := d.object(d.member); err != nil {
		return err
	}
	return d.finish()
}

// object calls member for each member of an object, with its name in the path.
func (d *jsonList) object(member func() error) error {
	outer := len(d.path)
	return d.scan.object(func(name []byte) error {
		if outer > 0 {
			d.path = append(d.path, '.')
		}
		d.path = append(d.path, name...)
		err := member()
		d.path = d.path[:outer]
		return err
	})
}

// member reads a member of the document.
func (d *jsonList) member() error {
	b, err := d.scan.next()
	if err != nil || b != '[' {
		return d.value()
	}
	d.arrays++
	isNamed := d.isNamed()
	if isNamed {
		d.named++
	}
	return d.scan.array(func() error { return d.element(isNamed || len(d.members) == 0) })
}

// element reads an entry. With isNamed, a string is one.
func (d *jsonList) element(isNamed bool) error {
	d.number++
	b, err := d.scan.next()
	switch {
	case err != nil:
		return err
	case b == '{':
		return d.entryObject(isNamed)
	case isNamed:
		return d.text("is neither a string nor an object")
	}
	d.unnamed++
	return d.scan.skip()
}

// entryObject reads an entry that is an object. With isNamed, it is wrong if no member is in it.
func (d *jsonList) entryObject(isNamed bool) error {
	before := d.named
	if d.entry = len(d.path); d.entry > 0 {
		d.entry++ // the dot
	}
	err := d.object(d.value)
	d.entry = -1
	switch {
	case err != nil:
		return err
	case d.named > before:
	case d.isMetadata:
	case isNamed || d.isLeading():
		err = d.c.reject(d.number, d.line, d.lacks)
	default:
		if d.lacking++; d.firstLacking == 0 {
			d.firstLacking = d.number
		}
	}
	return err
}

// value reads a member of an entry, or one that no array leads to.
func (d *jsonList) value() error {
	b, err := d.scan.next()
	switch {
	case err != nil:
		return err
	case d.isNamed():
		if d.entry < 0 {
			d.number++
		}
		if b != 'n' { // null: absent
			d.named++
		}
		if b == '[' {
			return d.scan.array(func() error { return d.text("is not a string") })
		}
		if b == 'n' {
			return d.scan.skip()
		}
		return d.text("is not a string")
	case b == '{':
		return d.object(d.value)
	case b == '[':
		return d.scan.array(d.nested)
	}
	text, _, err := d.scan.scalar()
	d.isMetadata = d.isMetadata || d.line != nil && string(d.path) == "type" && string(text) == "metadata"
	return err
}

// nested reads an element of an array that no member names, but what is in it may be named.
func (d *jsonList) nested() error {
	before := d.named
	b, err := d.scan.next()
	switch {
	case err != nil:
		return err
	case b == '[':
		return d.scan.array(d.nested)
	case b != '{':
		return d.scan.skip()
	}
	if err := d.object(d.value); err != nil {
		return err
	}
	if d.named == before && d.isLeading() {
		return d.c.reject(d.number, d.line, d.lacks)
	}
	return nil
}

// text adds a string. Anything else is wrong.
func (d *jsonList) text(why string) error {
	b, err := d.scan.next()
	if err != nil {
		return err
	}
	if b == '{' || b == '[' {
		if err := d.scan.skip(); err != nil {
			return err
		}
		return d.c.reject(d.number, nil, why)
	}
	value, isString, err := d.scan.scalar()
	switch {
	case err != nil:
		return err
	case !isString && d.c.list.AddASN == nil: // the number of an autonomous system is often no string
		return d.c.reject(d.number, value, why)
	}
	return d.c.add(d.number, bytes.TrimSpace(value))
}

// isNamed reports whether a member names the current path.
func (d *jsonList) isNamed() bool {
	for _, m := range d.members {
		if d.entry >= 0 && m == string(d.path[d.entry:]) {
			d.inEntries = true
			return true
		}
		if m == string(d.path) {
			return true
		}
	}
	return false
}

// isLeading reports whether a member names something below the current path.
func (d *jsonList) isLeading() bool {
	return slices.ContainsFunc(d.members, func(m string) bool {
		return isBelow(m, d.path) || d.entry >= 0 && isBelow(m, d.path[d.entry:])
	})
}

func isBelow(member string, path []byte) bool {
	return len(member) > len(path) && member[len(path)] == '.' && member[:len(path)] == string(path)
}

// finish judges a document that is an object, when all of it is known.
func (d *jsonList) finish() error {
	if d.inEntries || d.named == 0 { // otherwise, other arrays hold something else
		for range d.lacking {
			if err := d.c.reject(d.firstLacking, nil, d.lacks); err != nil {
				return err
			}
		}
	}
	switch {
	case d.named > 0 || d.lacking > 0:
	case d.unnamed > 0:
		return refuse(ErrUnparsable, "the JSON document has no member %s", strings.Join(d.members, " or "))
	case d.arrays == 0:
		return refuse(ErrUnparsable, "the JSON object holds no array")
	}
	return nil
}
