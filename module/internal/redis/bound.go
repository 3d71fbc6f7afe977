package redis

import (
	"fmt"
	"slices"
)

// The library reserves memory for the length that a reply announces, and recurses for each level of
// arrays: a server that answers nonsense, or that others fill, must not end this process.
const (
	maxString   = 1 << 20 // bytes of one string; the longest of ours is a message of 28 KiB
	maxElements = 1 << 16 // of one array
	maxDepth    = 16
	maxHead     = 64 << 10 // bytes of a line; errors and simple strings are lines
)

// replyBound follows the replies on a connection, in the protocol of Redis. The zero value expects
// the beginning of a reply.
type replyBound struct {
	head    []byte // the line that has begun: only its type and length are kept
	size    int    // bytes of that line
	skip    int    // bytes of a string that are still to come
	pending []int  // for each open array, how many elements are still to come
}

// check reads on, and returns why the replies cannot be accepted.
func (r *replyBound) check(p []byte) error {
	for len(p) > 0 {
		if r.skip > 0 {
			n := min(r.skip, len(p))
			r.skip -= n
			p = p[n:]
			continue
		}
		end := slices.Index(p, '\n')
		line := p[:end+1]
		if end < 0 {
			line = p
		}
		p = p[len(line):]
		if r.size += len(line); r.size > maxHead {
			return fmt.Errorf("redis answered with a line of more than %d bytes", maxHead)
		}
		r.head = append(r.head, line[:min(len(line), maxDigits-len(r.head))]...)
		if end < 0 {
			return nil
		}
		if err := r.begin(); err != nil {
			return err
		}
		r.head, r.size = r.head[:0], 0
	}
	return nil
}

// maxDigits is how much of a line is kept: its type and the longest number.
const maxDigits = 24

// begin reads the first line of a reply or of an element.
func (r *replyBound) begin() error {
	kind, n := r.head[0], r.length()
	elements := 0
	switch kind {
	case '$', '!', '=':
		if n > maxString {
			return fmt.Errorf("redis answered with a string of %d bytes, %d at most are read", n, maxString)
		}
		if n >= 0 {
			r.skip = n + len("\r\n")
		}
	case '*', '~', '>', '%', '|':
		if n > maxElements {
			return fmt.Errorf("redis answered with %d elements, %d at most are read", n, maxElements)
		}
		elements = max(n, 0)
		if kind == '%' || kind == '|' {
			elements *= 2
		}
	}
	r.count(elements, kind == '|')
	if len(r.pending) > maxDepth {
		return fmt.Errorf("redis answered with arrays in arrays, %d deep: %d at most are read", len(r.pending), maxDepth)
	}
	return nil
}

// count counts an element that begins, with so many elements of its own. An attribute precedes the
// element that it is about.
func (r *replyBound) count(elements int, attribute bool) {
	if last := len(r.pending) - 1; last >= 0 && !attribute {
		r.pending[last]--
	}
	if elements > 0 {
		r.pending = append(r.pending, elements)
	}
	for len(r.pending) > 0 && r.pending[len(r.pending)-1] == 0 {
		r.pending = r.pending[:len(r.pending)-1]
	}
}

// length returns the number in the line that has begun, or more than any bound.
func (r *replyBound) length() int {
	digits := r.head[1:]
	negative := len(digits) > 0 && digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	n := 0
	for _, d := range digits {
		if d < '0' || d > '9' {
			break
		}
		if n = 10*n + int(d-'0'); n > 1<<40 {
			break
		}
	}
	if negative {
		return -n
	}
	return n
}
