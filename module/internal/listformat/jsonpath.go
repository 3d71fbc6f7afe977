package listformat

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// jsonPath are the names and arrays that lead to a value of a document, such as
// values[].properties.addressPrefixes[].
type jsonPath struct {
	full  []byte // with [] for each array
	plain []byte // without
	names []span // of full
}

type span struct{ start, end int }

// depth is a position to which leave returns.
type depth struct{ full, plain, names int }

func (p *jsonPath) depth() depth { return depth{len(p.full), len(p.plain), len(p.names)} }

func (p *jsonPath) enter(name []byte) {
	if len(p.full) > 0 {
		p.full = append(p.full, '.')
	}
	if len(p.plain) > 0 {
		p.plain = append(p.plain, '.')
	}
	start := len(p.full)
	p.full, p.plain = append(p.full, name...), append(p.plain, name...)
	p.names = append(p.names, span{start, len(p.full)})
}

func (p *jsonPath) enterArray() { p.full = append(p.full, "[]"...) }

func (p *jsonPath) leave(to depth) {
	p.full, p.plain, p.names = p.full[:to.full], p.plain[:to.plain], p.names[:to.names]
}

// member is a member that holds addresses, as an operator names it.
type member struct {
	text string

	// pieces are set for a path from the document on, which has [] or *: the text between its
	// stars. Of others, arrays are not named.
	pieces []string
}

func newMember(text string) member {
	if !strings.Contains(text, "[]") && !isStarred(text) {
		return member{text: text}
	}
	return member{text, splitStars(strings.TrimSuffix(text, "[]"))} // an array stands for its elements
}

// isStarred reports whether one of the names is a star.
func isStarred(path string) bool { return len(splitStars(path)) > 1 }

// splitStars splits a path at names that are a star, and nothing else.
func splitStars(path string) (pieces []string) {
	from := 0
	for i := range len(path) {
		starts := i == 0 || path[i-1] == '.'
		ends := i+1 == len(path) || path[i+1] == '.' || path[i+1] == '['
		if path[i] == '*' && starts && ends {
			pieces = append(pieces, path[from:i])
			from = i + 1
		}
	}
	return append(pieces, path[from:])
}

// match compares the path of a value with a member: it is named, or something below it is. With
// keyed, the last name of the path is one that the member's last star stands for.
func (m *member) match(p *jsonPath) (named, below, keyed bool) {
	rest, names := p.full, p.names
	for i, piece := range m.pieces {
		if len(rest) < len(piece) {
			below = strings.HasPrefix(piece, string(rest)) && strings.IndexByte(".[", piece[len(rest)]) >= 0
			return false, below, below && i > 0 && i == len(m.pieces)-1 && len(rest) == 0
		}
		if string(rest[:len(piece)]) != piece {
			return false, false, false
		}
		rest = rest[len(piece):]
		if i == len(m.pieces)-1 {
			return len(rest) == 0, false, false
		}
		at := len(p.full) - len(rest)
		for len(names) > 0 && names[0].start < at {
			names = names[1:]
		}
		if len(names) == 0 || names[0].start != at {
			return false, len(rest) == 0, false
		}
		rest = rest[names[0].end-at:]
	}
	return false, false, false
}

// checkMembers refuses members that name nothing.
func checkMembers(f *Format) error {
	for _, text := range f.Members {
		switch {
		case text == "":
			return errors.New("the name of a JSON member is empty")
		case strings.Count(text, "[") != strings.Count(text, "[]") || strings.Count(text, "]") != strings.Count(text, "[]"):
			return fmt.Errorf("the path %q: write [] for all elements of an array, as in prefixes[].ipv4Prefix", text)
		}
	}
	return nil
}

// isBelow reports whether a member without arrays names something below a path.
func isBelow(member string, path []byte) bool {
	return len(member) > len(path) && member[len(path)] == '.' && bytes.Equal([]byte(member[:len(path)]), path)
}
