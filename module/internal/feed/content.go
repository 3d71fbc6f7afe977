package feed

import (
	"io"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// content is what is read of a list. Duplicates and neighbours are merged while reading.
type content struct {
	listformat.List
	ranges iplist.Builder
	names  names
}

func (s *Spec) newContent() *content {
	c := new(content)
	c.Add = func(p netip.Prefix) error {
		if c.ranges.Add(p); c.ranges.Len() > s.MaxEntries {
			return s.tooMany()
		}
		return nil
	}
	if s.ASNs {
		c.AddASN = func(asn uint32) error {
			if c.names = append(c.names, nameOfASN(asn)); len(c.names) <= 2*s.MaxEntries {
				return nil // duplicates are removed seldom, since that takes long
			}
			if c.names = c.names.sorted(); len(c.names) > s.MaxEntries {
				return s.tooMany()
			}
			return nil
		}
	}
	return c
}

func (s *Spec) tooMany() error {
	return refuse(ResultTooLarge, "the list has more than %d entries: raise max_entries of the feed if that is right", s.MaxEntries)
}

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
