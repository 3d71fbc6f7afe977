package listformat

import (
	"bufio"
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/jsonstream"
)

// JSON is an array or an object. The entries are strings in arrays, or members of objects in arrays.
// See Format.Members for how they are named. If none is named, the entries are looked for.
const JSON Encoding = "json"

var jsonDocument = notation{encoding: JSON, check: checkMembers, read: readJSON}

func readJSON(r *bufio.Reader, f *Format, c *collector) error {
	c.unit = "entry"
	members := c.members(f)
	var scan *jsonstream.Reader
	var err error
	if len(members) == 0 {
		search := newJSONSearch(c)
		search.scan.Reset(r)
		scan, err = &search.scan, search.document()
	} else {
		d := newJSONList(members, c)
		d.scan.Reset(r)
		d.meta.list = c
		scan, err = &d.scan, d.document()
	}
	return endOf(scan, err)
}

// endOf returns the error of what was read of a document, or else whether more follows it.
func endOf(scan *jsonstream.Reader, err error) error {
	if err == nil {
		err = scan.End()
	}
	if errors.Is(err, jsonstream.ErrMore) {
		return refuse(ErrUnparsable, "more follows the JSON document: use the ndjson format for one object a line")
	}
	if wrong, ok := errors.AsType[*jsonstream.Error](err); ok {
		return refuse(ErrUnparsable, "the JSON document %w", wrong)
	}
	return err
}

// members returns the members that hold the entries; none if they are looked for.
func (c *collector) members(f *Format) []string {
	if len(f.Members) == 0 && c.list.AddASN != nil {
		return []string{"asn"}
	}
	return f.Members
}

// jsonList collects what the members name in a document.
type jsonList struct {
	scan    jsonstream.Reader
	members []member
	lacks   string // what is wrong with an entry in which no member is found
	c       *collector

	path   jsonPath // of the current value
	entry  int      // where in path.plain the names within the entry begin; -1 outside of entries
	number int      // of the entry

	named        int  // values that the members name
	inEntries    bool // one of them is named as it is within an entry
	arrays       int  // members of the document that are arrays
	unnamed      int  // their strings that no member names
	lacking      int  // their objects in which no member is found
	firstLacking int

	line []byte // of NDJSON, for errors
	meta metadata
}

func newJSONList(members []string, c *collector) *jsonList {
	d := &jsonList{lacks: "has no member " + strings.Join(members, " or "), c: c, entry: -1}
	for _, text := range members {
		d.members = append(d.members, newMember(text))
	}
	return d
}

func (d *jsonList) document() error {
	b, err := d.scan.Peek()
	switch {
	case err != nil:
		return err
	case b == '[':
		d.arrays++
		isNamed := d.isNamed() || slices.ContainsFunc(d.members, func(m member) bool { return m.pieces == nil })
		err = d.array(func() error { return d.element(isNamed) })
	case b == '{':
		err = d.object(d.member)
	default:
		err = refuse(ErrUnparsable, "the JSON document is neither an array nor an object")
	}
	if err != nil {
		return err
	}
	return d.finish()
}

// object calls member for each member of an object, with its name in the path.
func (d *jsonList) object(member func() error) error {
	outer := d.path.depth()
	return d.scan.Object(func(name []byte) error {
		d.path.enter(name)
		err := member()
		d.path.leave(outer)
		return err
	})
}

// array calls element before each element of an array.
func (d *jsonList) array(element func() error) error {
	outer := d.path.depth()
	d.path.enterArray()
	err := d.scan.Array(element)
	d.path.leave(outer)
	return err
}

// member reads a member of the document.
func (d *jsonList) member() error {
	b, err := d.scan.Peek()
	if err != nil || b != '[' {
		return d.value()
	}
	d.arrays++
	isNamed := d.isNamed()
	if isNamed {
		d.named++
	}
	return d.array(func() error { return d.element(isNamed) })
}

// element reads an entry. With isNamed, a string is one.
func (d *jsonList) element(isNamed bool) error {
	d.number++
	b, err := d.scan.Peek()
	switch {
	case err != nil:
		return err
	case b == '{':
		return d.entryObject(isNamed)
	case isNamed:
		return d.text("is neither a string nor an object")
	case b == '[':
		return d.nested()
	}
	d.unnamed++
	return d.scan.Skip()
}

// entryObject reads an entry that is an object. With isNamed, it is wrong if no member is in it.
func (d *jsonList) entryObject(isNamed bool) error {
	before := d.named
	if d.entry = len(d.path.plain); d.entry > 0 {
		d.entry++ // the dot
	}
	err := d.object(d.value)
	d.entry = -1
	switch {
	case err != nil:
		return err
	case d.named > before:
	case d.meta.isMetadata:
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
	b, err := d.scan.Peek()
	switch {
	case err != nil:
		return err
	case d.isNamed():
		if d.entry < 0 {
			d.number++
		}
		if b == '[' {
			d.named++
			return d.array(func() error { return d.text("is not a string") })
		}
		if b == 'n' { // null: absent
			return d.scan.Skip()
		}
		return d.text("is not a string")
	case b == '{':
		before := d.named
		if err := d.object(d.value); err != nil || d.named > before || !d.isKeyed() {
			return err
		}
		return d.c.reject(d.number, d.line, d.lacks)
	case b == '[':
		if d.isLeading() { // it may be empty
			d.arrays++
		}
		return d.array(d.nested)
	}
	text, _, err := d.scan.Scalar()
	if err == nil {
		d.meta.note(&d.path, text)
	}
	return err
}

// nested reads an element of an array that no member names, but what is in it may be named.
func (d *jsonList) nested() error {
	before := d.named
	b, err := d.scan.Peek()
	switch {
	case err != nil:
		return err
	case b == '[' && d.isNamed():
		d.named++
		return d.array(func() error { return d.text("is not a string") })
	case b == '[':
		return d.array(d.nested)
	case b != '{':
		return d.scan.Skip()
	}
	if err := d.object(d.value); err != nil {
		return err
	}
	if d.named == before && d.isLeading() {
		return d.c.reject(d.number, d.line, d.lacks)
	}
	return nil
}

// text adds a string. An empty one is no address, and anything else is wrong.
func (d *jsonList) text(why string) error {
	b, err := d.scan.Peek()
	if err != nil {
		return err
	}
	if b == '{' || b == '[' {
		d.named++
		if err := d.scan.Skip(); err != nil {
			return err
		}
		return d.c.reject(d.number, nil, why)
	}
	value, isString, err := d.scan.Scalar()
	if err != nil {
		return err
	}
	if value = bytes.TrimSpace(value); len(value) == 0 {
		return nil
	}
	d.named++
	if !isString && d.c.list.AddASN == nil { // the number of an autonomous system is often no string
		return d.c.reject(d.number, value, why)
	}
	return d.c.add(d.number, value)
}

// isNamed reports whether a member names the current path.
func (d *jsonList) isNamed() bool {
	for i := range d.members {
		switch m := &d.members[i]; {
		case m.pieces != nil:
			if named, _, _ := m.match(&d.path); named {
				return true
			}
		case d.entry >= 0 && m.text == string(d.path.plain[d.entry:]):
			d.inEntries = true
			return true
		case m.text == string(d.path.plain):
			return true
		}
	}
	return false
}

// isLeading reports whether a member names something below the current path.
func (d *jsonList) isLeading() bool {
	return slices.ContainsFunc(d.members, func(m member) bool {
		if m.pieces != nil {
			_, below, _ := m.match(&d.path)
			return below
		}
		return isBelow(m.text, d.path.plain) || d.entry >= 0 && isBelow(m.text, d.path.plain[d.entry:])
	})
}

// isKeyed reports whether the current value is an entry because of its name, whatever that is.
func (d *jsonList) isKeyed() bool {
	return slices.ContainsFunc(d.members, func(m member) bool {
		_, _, keyed := m.match(&d.path)
		return keyed
	})
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
		return refuse(ErrUnparsable, "the JSON document %s", d.lacks)
	case d.arrays == 0:
		return refuse(ErrUnparsable, "the JSON object holds no array")
	}
	return nil
}
