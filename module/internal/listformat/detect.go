package listformat

import (
	"bytes"
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/jsonstream"
)

// detect returns the notation of a list, by its beginning: that in which most of the first lines are.
// It is decided once. Lines in another notation are wrong.
func (c *collector) detect(start []byte, f *Format) Encoding {
	lines := sampleLines(start)
	if len(lines) == 0 {
		return Text
	}
	if isOnionoo(start) {
		return Onionoo
	}
	if looksLikeJSON(lines[0]) {
		if isNDJSON(lines) {
			return NDJSON
		}
		return JSON
	}
	counts := make([]int, len(notations))
	for _, line := range lines {
		for i, n := range slices.Backward(notations) {
			if n.looks != nil && n.looks(c, line) {
				counts[i]++
				break
			}
		}
	}
	most := 0 // text, if nothing is more frequent
	for i, n := range slices.Backward(counts) {
		if n > counts[most] {
			most = i
		}
	}
	found := notations[most].encoding
	switch {
	case len(f.Members) > 0 && found != IPSet, found == Text && c.hasCSVHeader(lines):
		return CSV
	case found == Text:
		c.forms = dashed
	}
	return found
}

// sampleLines returns the first lines of a list that are neither blank nor comments, without the one
// that the end of the sample cuts off.
func sampleLines(start []byte) (lines [][]byte) {
	const enough = 200
	const long = sampled / 2 // a shorter one is the whole list
	if end := bytes.LastIndexByte(start, '\n'); end >= 0 && len(start) > long {
		start = start[:end]
	}
	for len(start) > 0 && len(lines) < enough {
		var line []byte
		line, start, _ = bytes.Cut(start, []byte("\n"))
		if line = bytes.TrimSpace(line); len(line) > 0 && !isComment(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// looksLikeJSON reports whether a document that begins with a line is JSON. Lines of iptables-save
// may begin with [1:2].
func looksLikeJSON(line []byte) bool {
	return line[0] == '{' || line[0] == '[' && !bytes.HasPrefix(withoutCounters(line), []byte("-"))
}

// isNDJSON reports whether the first line is a whole object, and another follows.
func isNDJSON(lines [][]byte) bool {
	if len(lines) < 2 || lines[0][0] != '{' || lines[1][0] != '{' {
		return false
	}
	return jsonstream.New(bytes.NewReader(lines[0])).IsObject()
}
