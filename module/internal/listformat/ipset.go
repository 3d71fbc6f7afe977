package listformat

import (
	"bufio"
	"bytes"
	"slices"
	"strings"
)

// IPSet is what `ipset save` writes: "add <set> <address>", and lines that create the sets. Members
// are the sets to take. With none, there must be one set, or one of each family.
const IPSet Encoding = "ipset"

var ipset = notation{encoding: IPSet, read: readIPSet, looks: looksLikeIPSet}

func looksLikeIPSet(_ *collector, line []byte) bool {
	fields := bytes.Fields(line[:min(len(line), sniffed)])
	return len(fields) > 2 && (string(fields[0]) == "add" || string(fields[0]) == "create")
}

type ipsetList struct {
	c    *collector
	sets []string // to take; if found by looking, those seen first
	look bool
	left []string // others
}

func readIPSet(r *bufio.Reader, f *Format, c *collector) error {
	l := ipsetList{c: c, sets: f.Members, look: len(f.Members) == 0}
	if err := c.eachLine(r, l.line); err != nil {
		return err
	}
	if len(l.left) > 0 {
		return c.severalPlaces(append(slices.Clone(l.sets), l.left...))
	}
	return nil
}

func (l *ipsetList) line(number int, line []byte) error {
	command, rest := cutField(line)
	switch string(command) {
	case "create", "flush", "destroy", "swap", "rename", "COMMIT":
		return nil
	case "add":
	default:
		return l.c.reject(number, line, "is no line of `ipset save`")
	}
	set, rest := cutField(rest)
	if string(set) == "-exist" || string(set) == "-!" {
		set, rest = cutField(rest)
	}
	entry, options := cutField(rest)
	if len(entry) == 0 {
		return l.c.reject(number, line, "breaks off")
	}
	if !l.takes(string(set)) {
		l.c.skip()
		return nil
	}
	if why := ipsetOption(options); why != "" {
		return l.c.reject(number, line, why)
	}
	if r, ok := dashedRange(entry); ok {
		return l.c.addRange(number, line, r, nil)
	}
	return l.c.add(number, entry)
}

// takes reports whether the entries of a set are taken. It remembers those that are not.
func (l *ipsetList) takes(set string) bool {
	switch {
	case slices.Contains(l.sets, set):
		return true
	case !l.look:
		return false
	case len(l.sets) == 0 || len(l.sets) < maxPaths && withoutFamily(l.sets[0]) == withoutFamily(set):
		l.sets = append(l.sets, strings.Clone(set))
		return true
	case !slices.Contains(l.left, set) && len(l.left) < maxPaths:
		l.left = append(l.left, set)
	}
	return false
}

// ipsetOption returns what is wrong with the text behind an entry, or "".
func ipsetOption(rest []byte) string {
	for {
		var option, value []byte
		option, rest = cutField(rest)
		switch string(option) {
		case "":
			return ""
		case "-exist", "-!":
			continue
		case "timeout", "packets", "bytes", "skbmark", "skbprio", "skbqueue":
			if value, rest = cutField(rest); len(value) == 0 {
				return "breaks off"
			}
		case "comment":
			var ok bool
			if rest, ok = skipQuoted(rest); !ok {
				return "has a comment that does not end"
			}
		case "nomatch":
			return "is an exception, which a list cannot have"
		default:
			return "has an option that is not understood"
		}
	}
}

// cutField returns the first field of a line and what follows it. Fields end at spaces and tabs.
func cutField(line []byte) (field, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		return line[:i], line[i+1:]
	}
	return line, nil
}

// skipQuoted returns what follows a word, or a text in quotes.
func skipQuoted(line []byte) (rest []byte, ok bool) {
	line = bytes.TrimLeft(line, " \t")
	if len(line) == 0 {
		return nil, false
	}
	if line[0] != '"' {
		_, rest = cutField(line)
		return rest, true
	}
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			return line[i+1:], true
		}
	}
	return nil, false
}
