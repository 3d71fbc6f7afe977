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
}

func (s *Spec) newContent() *content {
	c := new(content)
	c.Add = func(p netip.Prefix) error {
		if c.ranges.Add(p); c.ranges.Len() > s.MaxEntries {
			return s.tooMany()
		}
		return nil
	}
	return c
}

func (s *Spec) tooMany() error {
	return refuse(ResultTooLarge, "the list has more than %d entries: raise max_entries of the feed if that is right", s.MaxEntries)
}
