package mmdb

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

var errTree = errors.New("its search tree is damaged")

// tree is the search tree of a file. A node has two children. A child is a node, empty, or the place
// of a record, in this order of numbers.
type tree struct {
	nodes []byte
	count uint // of the nodes
	size  uint // of a node, in bytes

	ctx   context.Context
	steps uint

	// leaf is called with each network that has a record, in ascending order.
	leaf func(p netip.Prefix, record uint) error
}

// sharing is how often a node may be visited, on average. Only the IPv4 part is shared, and it is
// visited once: a tree with more visits has loops, or is made to keep its reader busy.
const sharing = 4

// separator is the number of zero bytes between the tree and the records.
const separator = 16

func newTree(ctx context.Context, data []byte, m *maxminddb.Metadata) (*tree, error) {
	t := &tree{count: m.NodeCount, size: m.RecordSize / 4, ctx: ctx}
	switch {
	case m.RecordSize != 24 && m.RecordSize != 28 && m.RecordSize != 32,
		m.IPVersion != 4 && m.IPVersion != 6,
		m.NodeCount == 0 || m.NodeCount > uint(len(data))/t.size:
		return nil, errTree
	}
	t.nodes = data[:t.count*t.size]
	return t, nil
}

// child returns a child of a node.
func (t *tree) child(node, bit uint) uint {
	n := t.nodes[node*t.size:][:t.size]
	switch t.size {
	case 6:
		n = n[3*bit:]
		return uint(n[0])<<16 | uint(n[1])<<8 | uint(n[2])
	case 7:
		high := uint(n[3]) >> (4 * (1 - bit)) & 0xf
		n = n[4*bit:]
		return high<<24 | uint(n[0])<<16 | uint(n[1])<<8 | uint(n[2])
	}
	return uint(binary.BigEndian.Uint32(n[4*bit:]))
}

// walk visits all networks, those of IPv4 first. IPv4 addresses that are written as IPv6 ones, such
// as 6to4, are left out: most files show them as the IPv4 part once more.
func (t *tree) walk(version uint) error {
	root4 := uint(0)
	if version == 6 {
		for range 96 {
			if root4 >= t.count {
				break
			}
			root4 = t.child(root4, 0)
		}
	}
	if err := t.walk4(root4, 0, 0); err != nil || version == 4 {
		return err
	}
	return t.walk6(0, root4, [16]byte{}, 0)
}

func (t *tree) walk4(node uint, addr uint32, bits int) error {
	if node >= t.count {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], addr)
		return t.visit(netip.PrefixFrom(netip.AddrFrom4(b), bits), node)
	}
	if err := t.step(bits < 32); err != nil {
		return err
	}
	if err := t.walk4(t.child(node, 0), addr, bits+1); err != nil {
		return err
	}
	return t.walk4(t.child(node, 1), addr|1<<(31-bits), bits+1)
}

func (t *tree) walk6(node, root4 uint, addr [16]byte, bits int) error {
	if node >= t.count {
		return t.visit(netip.PrefixFrom(netip.AddrFrom16(addr), bits), node)
	}
	if node == root4 && bits > 0 {
		return nil
	}
	if err := t.step(bits < 128); err != nil {
		return err
	}
	if err := t.walk6(t.child(node, 0), root4, addr, bits+1); err != nil {
		return err
	}
	addr[bits/8] |= 1 << (7 - bits%8)
	return t.walk6(t.child(node, 1), root4, addr, bits+1)
}

// step counts a visit of a node. within says that the node has a bit of the address.
func (t *tree) step(within bool) error {
	if t.steps++; !within || t.steps > sharing*t.count {
		return errTree
	}
	if t.steps%1024 == 0 {
		return t.ctx.Err()
	}
	return nil
}

func (t *tree) visit(p netip.Prefix, place uint) error {
	switch {
	case place == t.count:
		return nil
	case place < t.count+separator:
		return errTree
	}
	return t.leaf(p, place-t.count-separator)
}
