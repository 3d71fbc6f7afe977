package mmdb

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2/mmdbdata"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Bounds of one record. Real ones have at most a few hundred fields, and names of up to 100 letters.
const (
	maxRecordFields = 4096
	maxTextRead     = 1024
	maxName         = 128
)

var errManyFields = errors.New("a record has too many fields")

// found are the facts of one record, and where each was found.
type found struct {
	country, name string
	asn           uint32
	nature        reputation.Nature

	paths map[string]string // fact → field; nil: not asked for

	ranks [3]int // of country, asn and name
}

// reader reads the facts of a record. It implements mmdbdata.CursorUnmarshaler.
type reader struct {
	schema *field
	found  found
	left   int // fields that may be read
}

// value is what a field holds. Other kinds than these are left out.
type value struct {
	text   string
	number uint64
	isText bool
	is     bool // for a boolean
	isBool bool
}

// UnmarshalMaxMindDBCursor implements mmdbdata.CursorUnmarshaler.
func (r *reader) UnmarshalMaxMindDBCursor(c mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	r.found = found{paths: r.found.paths, ranks: [3]int{math.MaxInt, math.MaxInt, math.MaxInt}}
	if r.found.paths != nil {
		clear(r.found.paths)
	}
	r.left = maxRecordFields
	return r.read(c, r.schema)
}

// read reads a value that the schema asks for, and returns what follows it.
func (r *reader) read(c mmdbdata.Cursor, f *field) (mmdbdata.Cursor, error) {
	kind, err := c.Kind()
	if err != nil {
		return c, err
	}
	switch {
	case kind == mmdbdata.KindMap && f.within != nil:
		return r.readMap(c, f)
	case kind == mmdbdata.KindSlice && f.within != nil:
		return r.readSlice(c, f)
	case len(f.rules) == 0:
		return c.Skip()
	}
	v, next, err := readValue(c, kind)
	if err == nil {
		for i := range f.rules {
			r.found.apply(&f.rules[i], v)
		}
	}
	return next, err
}

func (r *reader) readMap(c mmdbdata.Cursor, f *field) (mmdbdata.Cursor, error) {
	fields, err := c.Map()
	if err != nil {
		return c, err
	}
	var next mmdbdata.Cursor
	for {
		key, at, more := fields.Next(next)
		if !more {
			break
		}
		if r.left--; r.left < 0 {
			return c, errManyFields
		}
		if within := f.within[string(key)]; within != nil {
			next, err = r.read(at, within)
		} else {
			next, err = at.Skip()
		}
		if err != nil {
			return c, err
		}
	}
	return fields.End()
}

func (r *reader) readSlice(c mmdbdata.Cursor, f *field) (mmdbdata.Cursor, error) {
	elements, err := c.Slice()
	if err != nil {
		return c, err
	}
	var next mmdbdata.Cursor
	for {
		i, at, more := elements.Next(next)
		if !more {
			break
		}
		if r.left--; r.left < 0 {
			return c, errManyFields
		}
		if within := f.within[strconv.FormatUint(uint64(i), 10)]; within != nil {
			next, err = r.read(at, within)
		} else {
			next, err = at.Skip()
		}
		if err != nil {
			return c, err
		}
	}
	return elements.End()
}

// readValue reads a value that is no map and no array.
func readValue(c mmdbdata.Cursor, kind mmdbdata.Kind) (v value, next mmdbdata.Cursor, err error) {
	switch kind {
	case mmdbdata.KindString:
		if c.CheckMaxSize(mmdbdata.NewKindSet(mmdbdata.KindString), maxTextRead) != nil {
			break // too long to be a fact
		}
		v.isText = true
		v.text, next, err = c.ReadString()
		return v, next, err
	case mmdbdata.KindBool:
		v.isBool = true
		v.is, next, err = c.ReadBool()
		return v, next, err
	case mmdbdata.KindUint16, mmdbdata.KindUint32, mmdbdata.KindUint64, mmdbdata.KindInt32:
		var signed bool
		v.number, signed, next, err = c.ReadInteger()
		if signed && v.number > math.MaxInt32 {
			v.number = 0 // negative
		}
		return v, next, err
	}
	next, err = c.Skip()
	return value{}, next, err
}

// apply takes over the fact that a rule finds in a value.
func (f *found) apply(r *rule, v value) {
	took := false
	switch r.Fact {
	case factCountry:
		if code := country(v.text); code != "" && r.rank < f.ranks[0] {
			f.country, f.ranks[0], took = code, r.rank, true
		}
	case factASN:
		if n := number(v); n != 0 && r.rank < f.ranks[1] {
			f.asn, f.ranks[1], took = n, r.rank, true
		}
	case factASName:
		if name := foreign.Line(v.text, maxName); name != "" && r.rank < f.ranks[2] {
			f.name, f.ranks[2], took = name, r.rank, true
		}
	default:
		is, known := r.isKind(v)
		if known && (is || !yes(f.nature, r.kind)) {
			f.nature, took = f.nature.With(r.kind, is), true
		}
	}
	if took && f.paths != nil {
		f.paths[r.Fact] = r.Field
	}
}

func yes(n reputation.Nature, k reputation.Kind) bool {
	is, _ := n.Is(k)
	return is
}

// isKind reports whether a value means that the address is of the rule's kind, and whether it says
// so at all. The word "false" is a no, and an empty one says nothing.
func (r *rule) isKind(v value) (is, known bool) {
	switch {
	case slices.Contains(r.Values, present):
		return true, true
	case len(r.Values) > 0:
		text := v.text
		if !v.isText {
			text = strconv.FormatUint(v.number, 10)
		}
		is = slices.ContainsFunc(r.Values, func(w string) bool { return strings.EqualFold(w, text) })
		return is, is
	case v.isBool:
		return v.is, true
	}
	return v.text == "true", v.text == "true" || v.text == "false"
}

// number returns the number of an autonomous system: a number, or text such as "AS64500".
func number(v value) uint32 {
	if v.isText {
		text, _, _ := strings.Cut(strings.TrimSpace(v.text), " ")
		if len(text) > 2 && strings.EqualFold(text[:2], "AS") {
			text = text[2:]
		}
		n, err := strconv.ParseUint(text, 10, 32) // unlike address.ParseASN, it takes leading zeros
		if err != nil {
			return 0
		}
		return uint32(n)
	}
	if v.number > math.MaxUint32 {
		return 0
	}
	return uint32(v.number)
}

// country returns a two-letter code in capitals, or nothing. ZZ stands for an unknown country.
func country(text string) string {
	code, _ := address.ParseCountry(text)
	if code == "ZZ" {
		return ""
	}
	return code
}
