package listformat

import (
	"bufio"
	"bytes"
	"strconv"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// DShield has tab-separated columns: the first address of a network, its last, the length of its
// prefix, and the publisher's data. The three must agree.
const DShield Encoding = "dshield"

var dshield = notation{encoding: DShield, check: checkText, read: readDShield, looks: looksLikeDShield}

func looksLikeDShield(_ *collector, line []byte) bool {
	_, ok := dshieldRange(line)
	return ok
}

// dshieldRange returns the network of a line.
func dshieldRange(line []byte) (r address.Range, ok bool) {
	from, rest, _ := bytes.Cut(line, []byte("\t"))
	to, rest, _ := bytes.Cut(rest, []byte("\t"))
	length, _, _ := bytes.Cut(rest, []byte("\t"))
	bits, err := strconv.Atoi(string(bytes.TrimSpace(length)))
	if r, ok = rangeOf(bytes.TrimSpace(from), bytes.TrimSpace(to)); !ok || err != nil {
		return r, false
	}
	p, err := r.From.Prefix(bits)
	return r, err == nil && address.RangeOf(p) == r
}

func readDShield(r *bufio.Reader, _ *Format, c *collector) error {
	begun := false
	return c.eachLine(r, func(number int, line []byte) error {
		r, ok := dshieldRange(line)
		switch {
		case ok:
			begun = true
			return c.addRange(number, line, r, nil)
		case !begun && bytes.HasPrefix(line, []byte("Start\t")): // names of the columns
			begun = true
			return nil
		}
		return c.reject(number, line, "is not the first address of a network, its last, and the length of its prefix")
	})
}
