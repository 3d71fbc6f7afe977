package listformat

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/jsonstream"
)

const (
	maxPath   = 512 // bytes of a path at which addresses are found
	maxPaths  = 8   // that an error names
	maxArrays = 256 // of which some elements have no address
)

// jsonSearch finds the entries of a document whose members nobody names: the strings that are
// addresses, if all are at one path. Paths that differ only in the family, such as ipv4Prefix and
// ipv6Prefix, are one. More are an error, since it is unknown which of them are meant.
type jsonSearch struct {
	scan jsonstream.Reader
	c    *collector

	path   jsonPath
	number int      // of the entry
	found  []string // paths of entries
	others []string // other paths of addresses
	taken  int      // values at the found paths
	arrays int

	// elements of arrays without an address, by path: they are wrong if addresses are found there
	lacking map[string]*lacking

	line []byte // of NDJSON
	meta metadata
	text []byte // of the last place
}

type lacking struct{ count, first int }

func newJSONSearch(c *collector) *jsonSearch {
	return &jsonSearch{c: c, lacking: make(map[string]*lacking)}
}

func (s *jsonSearch) document() error {
	s.meta.list = s.c
	switch b, err := s.scan.Peek(); {
	case err != nil:
		return err
	case b != '[' && b != '{':
		return refuse(ErrUnparsable, "the JSON document is neither an array nor an object")
	}
	if err := s.value(); err != nil {
		return err
	}
	return s.finish()
}

// value reads any value.
func (s *jsonSearch) value() error {
	b, err := s.scan.Peek()
	outer := s.path.depth()
	switch {
	case err != nil:
		return err
	case b == '{':
		return s.scan.Object(func(name []byte) error {
			s.path.enter(name)
			err := s.value()
			s.path.leave(outer)
			return err
		})
	case b == '[':
		s.arrays++
		s.path.enterArray()
		err := s.scan.Array(s.element)
		s.path.leave(outer)
		return err
	}
	text, isString, err := s.scan.Scalar()
	if err != nil {
		return err
	}
	return s.scalar(bytes.TrimSpace(text), isString)
}

func (s *jsonSearch) element() error {
	s.number++
	before := s.taken
	if err := s.value(); err != nil || s.taken > before {
		return err
	}
	place, ok := s.place()
	n := s.lacking[string(place)]
	if n == nil {
		if !ok || len(s.lacking) == maxArrays {
			return refuse(ErrUnparsable, "the JSON document is too diverse to look for addresses in it: name their "+
				"place with `field`, as in prefixes[].ipv4Prefix")
		}
		n = &lacking{first: s.number}
		s.lacking[string(place)] = n
	}
	n.count++
	return nil
}

// scalar judges a string or literal.
func (s *jsonSearch) scalar(text []byte, isString bool) error {
	s.meta.note(&s.path, text)
	switch {
	case len(text) == 0: // no address
		if bytes.HasSuffix(s.path.full, []byte("[]")) {
			s.taken++
		}
		return nil
	case !isString && string(text) == "null":
		return nil
	}
	place, ok := s.place()
	isKnown := slices.ContainsFunc(s.found, func(path string) bool { return path == string(place) })
	switch {
	case isKnown && !isString:
		s.taken++
		return s.c.reject(s.number, text, "is not a string")
	case isKnown:
		s.taken++
		return s.c.add(s.number, text)
	case !isString || !mayBeAddress(text) || !isAddress(text):
		return nil
	case !ok:
		return refuse(ErrUnparsable, "the JSON document has an address behind names of more than %d bytes: "+
			"name its place with `field`", maxPath)
	}
	return s.address(string(place), text)
}

// address judges an address at a path that was not known.
func (s *jsonSearch) address(path string, text []byte) error {
	switch {
	case s.line == nil && !strings.Contains(path, "[]") && !isStarred(path):
		return nil // a single address beside the list
	case len(s.found) == 0 || len(s.found) < maxPaths && withoutFamily(path) == withoutFamily(s.found[0]):
		s.found = append(s.found, path)
		s.taken++
		return s.c.add(s.number, text)
	case !slices.Contains(s.others, path):
		if s.others = append(s.others, path); len(s.others) == maxPaths {
			return s.ambiguous()
		}
	}
	return nil
}

// place returns the current path, until the next call. Names that are numbers are keys of a list,
// written as a star. ok is false if it is too long.
func (s *jsonSearch) place() (place []byte, ok bool) {
	full := s.path.full
	if len(full) > maxPath {
		return nil, false
	}
	s.text = s.text[:0]
	at := 0
	for _, name := range s.path.names {
		if isNumber(full[name.start:name.end]) {
			s.text = append(append(s.text, full[at:name.start]...), '*')
			at = name.end
		}
	}
	s.text = append(s.text, full[at:]...)
	return s.text, true
}

func isNumber(name []byte) bool {
	return len(name) > 0 && !slices.ContainsFunc(name, func(b byte) bool { return b < '0' || b > '9' })
}

// finish judges the document when all of it is known.
func (s *jsonSearch) finish() error {
	switch {
	case len(s.others) > 0:
		return s.ambiguous()
	case s.arrays == 0 && len(s.found) == 0 && s.line == nil:
		return refuse(ErrUnparsable, "the JSON object holds no array: for one object a line, use the ndjson format")
	case len(s.found) == 0 && len(s.lacking) > 0:
		return refuse(ErrUnparsable, "the JSON document has no addresses where they are looked for: name their "+
			"place with `field`, as in prefixes[].ipv4Prefix")
	}
	for path, n := range s.lacking {
		leads := func(found string) bool {
			return found == path || strings.HasPrefix(found, path+".") || strings.HasPrefix(found, path+"[")
		}
		if !slices.ContainsFunc(s.found, leads) {
			continue
		}
		for range n.count {
			if err := s.c.reject(n.first, nil, "has no address"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *jsonSearch) ambiguous() error { return s.c.severalPlaces(slices.Concat(s.found, s.others)) }

// severalPlaces returns the error that names the places of addresses.
func (c *collector) severalPlaces(places []string) error {
	for i, p := range places {
		places[i] = fmt.Sprintf("%.80q", c.redact(p))
	}
	return refuse(ErrUnparsable, "addresses stand in several places, and it is unknown which are meant: "+
		"name one with `field`: %s", strings.Join(places, ", "))
}

// withoutFamily returns a path without words that tell IPv4 from IPv6.
func withoutFamily(path string) string {
	var b strings.Builder
	for len(path) > 0 {
		word := path[:wordLength(path)]
		path = path[len(word):]
		switch lower := strings.ToLower(word); lower {
		case "ip", "v", "ipv", "inet", "4", "6", "_", "-":
		default:
			b.WriteString(lower)
		}
	}
	return b.String()
}

// wordLength returns the length of the first word of a name such as ipv4Prefix: words end at digits,
// capitals and other signs, which are words of their own.
func wordLength(name string) int {
	for i := 1; i < len(name) && isLetter(name[0]); i++ {
		isCapital := 'A' <= name[i] && name[i] <= 'Z' && 'a' <= name[i-1] && name[i-1] <= 'z'
		if !isLetter(name[i]) || isCapital {
			return i
		}
	}
	if isLetter(name[0]) {
		return len(name)
	}
	return 1
}
