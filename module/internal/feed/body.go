package feed

import (
	"io"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
)

// body is what is on a list that is not pushed: addresses, autonomous systems, or both. It is never
// changed.
type body struct {
	ranges iplist.Ranges
	names  names
}

// size is the number of ranges and names.
func (b *body) size() int { return b.ranges.Len() + len(b.names) }

// write writes the CIDRs and the names, each on a line, and returns their number.
func (b *body) write(w io.Writer) (entries int, err error) {
	const longest = 64 // no CIDR and no name is longer
	text := make([]byte, 0, 32<<10)
	add := func() error {
		text = append(text, '\n')
		if entries++; len(text) <= cap(text)-longest {
			return nil
		}
		_, err := w.Write(text)
		text = text[:0]
		return err
	}
	for p := range b.ranges.Prefixes() {
		text = p.AppendTo(text)
		if err := add(); err != nil {
			return entries, err
		}
	}
	for _, n := range b.names {
		text = n.appendTo(text)
		if err := add(); err != nil {
			return entries, err
		}
	}
	_, err = w.Write(text)
	return entries, err
}
