package listformat

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// Text has one address or CIDR a line, in the first field; fields end at a space, tab or comma.
// What follows "#", ";" or "//" is a comment. In a list of others, further fields are the
// publisher's data, unless one of them would change what the first one names.
//
// Where the format was found by looking, A - B and A-B are entries, too.
const Text Encoding = "text"

var text = notation{encoding: Text, counted: true, check: checkText, read: readText, looks: looksLikeText}

func checkText(f *Format) error {
	if len(f.Members) > 0 {
		return fmt.Errorf("the %s format has no member %q: use ndjson, json or csv", f.Encoding, f.Members[0])
	}
	return nil
}

func looksLikeText(c *collector, line []byte) bool {
	entry, rest := firstField(line)
	if c.list.AddASN != nil {
		_, ok := address.ParseASN(entry)
		return ok && c.misreadASN(rest) == ""
	}
	if _, _, ok := cutRange(line, dashed); ok {
		return true
	}
	return isAddress(entry) && c.misread(entry, rest) == ""
}

func readText(r *bufio.Reader, f *Format, c *collector) error {
	isOfASNs, isPaired := c.list.AddASN != nil, c.forms == paired
	return EachLine(r, func(number int, line []byte) error {
		if line == nil {
			return c.reject(number, nil, tooLong)
		}
		entry, rest := firstField(line)
		if len(entry) == 0 && len(rest) == 0 {
			return nil // blank, or a comment
		}
		if len(entry) == 0 {
			return c.reject(number, line, isNotAddress)
		}
		if isPaired {
			if r, rest, ok := cutRange(line, paired); ok {
				return c.addRange(number, line, r, rest)
			}
		}
		if why := c.misread(entry, rest); why != "" {
			return c.rangeOr(number, line, bytes.TrimSpace(line), why)
		}
		if f.MinCount > 0 {
			second, _ := firstField(rest)
			count, err := strconv.Atoi(string(second))
			if err != nil {
				return c.reject(number, line, "has no count in the second field")
			}
			if count < f.MinCount {
				c.skip()
				return nil
			}
		}
		if isOfASNs {
			return c.addASN(number, entry)
		}
		p, why := c.understand(entry)
		if why != "" {
			return c.rangeOr(number, line, entry, why)
		}
		return c.take(p)
	})
}

// firstField returns the first field of a line and what follows its
// separator. The field of a comment is empty.
func firstField(line []byte) (field, rest []byte) {
	start := 0
	for start < len(line) && (line[start] == ' ' || line[start] == '\t') {
		start++
	}
	for i := start; i < len(line); i++ {
		switch line[i] {
		case ' ', '\t', ',':
			return line[start:i], line[i+1:]
		case '#', ';':
			return line[start:i], nil
		case '/':
			slip := i > start && i+2 < len(line) && '0' <= line[i+2] && line[i+2] <= '9' // 198.51.100.0//24
			if i+1 < len(line) && line[i+1] == '/' && !slip {
				return line[start:i], nil
			}
		}
	}
	return line[start:], nil
}
