package feed

import (
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
