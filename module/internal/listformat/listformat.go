// Package listformat reads lists of addresses as publishers write them: text, CSV, JSON and NDJSON.
//
// It makes no requests and stores nothing: it turns bytes into prefixes and counts wrong entries.
// An entry of which a part is not understood is wrong: it is never taken for the part that is.
// However long the input, memory is bounded by MaxLine. Each format is one file, and a row in the
// table of notations.
package listformat

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// sniffed is the number of bytes that decide whether the input is a list, a web page or a binary.
const sniffed = 512

// Options are rules for the entries of a list.
type Options struct {
	// Own marks a list that the operator maintains. A line is an address or a CIDR without host
	// bits, and nothing else but a comment.
	Own bool

	// Strict makes the first wrong entry an error. Otherwise, wrong
	// entries are skipped and counted.
	Strict bool

	// Redact removes secrets from text of the list before an error
	// quotes it. Default: text is quoted as it is.
	Redact func(string) string
}

// List is the content of a list.
type List struct {
	// Add is called with each entry, in the order of the input. Prefixes are masked; IPv4-mapped
	// ones are IPv4. They may overlap. An error ends Read, which returns it.
	Add func(netip.Prefix) error

	// Published is the publisher's own date of the list, found in it. It is zero if there is none.
	Published time.Time

	// AddASN, if set, makes this a list of autonomous systems: it is called with the number of each,
	// and Add is not used.
	AddASN func(uint32) error

	// Lines counts the entries.
	Lines int

	// Skipped counts good lines that list nobody, such as those below the minimum count.
	Skipped int

	// Wrong counts wrong lines or, in a document, wrong entries.
	Wrong int

	// FirstWrong describes the first of them.
	FirstWrong error
}

// Errors that Read returns, wrapped. Any other error comes from the reader.
var (
	// ErrHTML means that the input is a web page.
	ErrHTML = errors.New("a web page")

	// ErrNotText means that the input is binary.
	ErrNotText = errors.New("not text")

	// ErrUnparsable means that the input is not of the list's format
	// or, with Options.Strict, that an entry is wrong.
	ErrUnparsable = errors.New("not of the format")
)

// refusal is an error that matches one of the errors above and has a text of its own.
type refusal struct{ kind, err error }

func (r *refusal) Error() string        { return r.err.Error() }
func (r *refusal) Unwrap() error        { return r.err }
func (r *refusal) Is(target error) bool { return target == r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Errorf(format, args...)}
}

// Read adds the entries of r to the list. A list in several parts is read by several calls. The
// format must have passed Format.Complete. The caller bounds the size of r.
func (l *List) Read(r io.Reader, f Format, o Options) error {
	buffered := bufio.NewReaderSize(r, 4<<10)
	start, err := buffered.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bom := []byte("\xef\xbb\xbf"); bytes.HasPrefix(start, bom) {
		start = start[len(bom):]
		_, _ = buffered.Discard(len(bom)) // they are in the buffer
	}
	if bytes.HasPrefix(bytes.TrimLeft(start, " \t\r\n\f"), []byte("<")) {
		return refuse(ErrHTML, "a web page came instead of a list")
	}
	if i := bytes.IndexFunc(start, isControl); i >= 0 {
		return refuse(ErrNotText, "the list is not text: byte %d is 0x%02x", i, start[i])
	}
	c := &collector{list: l, options: o, unit: "line"}
	return f.notation().read(buffered, &f, c)
}

func isControl(r rune) bool {
	return r < ' ' && r != '\t' && r != '\r' && r != '\n' && r != '\f'
}

// collector takes the entries that a format finds.
type collector struct {
	list    *List
	options Options
	unit    string // for errors: entries are counted by line, or by entry of a document
}

// add takes one entry and its number.
func (c *collector) add(number int, entry []byte) error {
	if c.list.AddASN != nil {
		return c.addASN(number, entry)
	}
	p, ok := ParsePrefix(entry)
	switch {
	case !ok:
		return c.reject(number, entry, notAnAddress(entry))
	case address.TooWide(p):
		return c.reject(number, entry, "is too wide: /8 and, in IPv6, /16 are the widest")
	case c.options.Own && bytes.IndexByte(entry, '/') >= 0:
		if cure := hostBits(entry); cure != "" {
			return c.reject(number, entry, "is neither an address nor a range: "+cure)
		}
	}
	c.list.Lines++
	return c.list.Add(p)
}

// skip counts a good line that lists nobody.
func (c *collector) skip() { c.list.Skipped++ }

// reject counts a wrong entry, which may be nil if it cannot be quoted. It returns an error if
// reading must end.
func (c *collector) reject(number int, entry []byte, why string) error {
	c.list.Wrong++
	if c.list.FirstWrong == nil {
		c.list.FirstWrong = fmt.Errorf("%s %d: %s%s", c.unit, number, c.quote(entry), why)
	}
	if c.options.Strict {
		return &refusal{ErrUnparsable, c.list.FirstWrong}
	}
	return nil
}

// quote returns the beginning of an entry, for an error.
func (c *collector) quote(entry []byte) string {
	if entry == nil {
		return ""
	}
	const shown = 48 // enough to recognise an entry by
	text := c.redact(string(entry[:min(len(entry), MaxLine)]))
	if len(text) > shown {
		text = text[:shown] + "..."
	}
	return fmt.Sprintf("%q ", text)
}

func (c *collector) redact(text string) string {
	if c.options.Redact == nil {
		return text
	}
	return c.options.Redact(text)
}
