// Package listformat reads lists of addresses as publishers write them: text, ranges, CSV, JSON, and
// the files of firewalls and web servers.
//
// It makes no requests and stores nothing: it turns bytes into prefixes and counts wrong entries.
// An entry of which a part is not understood is wrong: it is never taken for the part that is.
// However long the input, memory is bounded by MaxLine. Each format is one file, and a row in the
// table of notations.
package listformat

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

const (
	// sniffed is the number of bytes that decide whether the input is a list, a web page or a binary.
	sniffed = 512

	// sampled is the number of bytes that decide which format a list has.
	sampled = MaxLine
)

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

	// Lines counts the entries. A range from one address to another counts as the prefixes that it
	// is made of.
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
	buffered := bufio.NewReaderSize(r, sampled)
	start, err := buffered.Peek(sampled)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bom := []byte("\xef\xbb\xbf"); bytes.HasPrefix(start, bom) {
		start = start[len(bom):]
		_, _ = buffered.Discard(len(bom)) // they are in the buffer
	}
	first := start[:min(len(start), sniffed)]
	if isWebPage(first) {
		return refuse(ErrHTML, "a web page came instead of a list")
	}
	if i := bytes.IndexFunc(first, isControl); i >= 0 {
		return refuse(ErrNotText, "the list is not text: byte %d is 0x%02x", i, start[i])
	}
	c := &collector{list: l, options: o, unit: "line"}
	c.publishHeader(start)
	if f.Encoding == "" {
		f.Encoding = c.detect(start, &f)
	}
	return f.notation().read(buffered, &f, c)
}

// isWebPage reports whether a document begins with a tag that is no section of Apache's configuration.
func isWebPage(start []byte) bool {
	start = bytes.TrimLeft(start, " \t\r\n\f")
	return bytes.HasPrefix(start, []byte("<")) && !isSection(start)
}

func isControl(r rune) bool {
	return r < ' ' && r != '\t' && r != '\r' && r != '\n' && r != '\f'
}

// collector takes the entries that a format finds.
type collector struct {
	list    *List
	options Options
	unit    string // for errors: entries are counted by line, or by entry of a document
	forms   forms  // of ranges that a line may have
}

// add takes one entry and its number.
func (c *collector) add(number int, entry []byte) error {
	if c.list.AddASN != nil {
		return c.addASN(number, entry)
	}
	p, why := c.understand(entry)
	if why != "" {
		return c.reject(number, entry, why)
	}
	return c.take(p)
}

// several are the entries of one line.
type several struct {
	prefixes []netip.Prefix
	why      string // what is wrong with the first wrong one
}

func (s *several) add(p netip.Prefix, why string) {
	s.prefixes = append(s.prefixes, p)
	s.why = cmp.Or(s.why, why)
}

// addAll takes all entries of a line, or none if something is wrong with one of them, and empties s.
func (c *collector) addAll(number int, line []byte, s *several) error {
	prefixes, why := s.prefixes, s.why
	s.prefixes, s.why = prefixes[:0], ""
	if why != "" {
		return c.reject(number, line, why)
	}
	for _, p := range prefixes {
		if err := c.take(p); err != nil {
			return err
		}
	}
	return nil
}

// understand returns the prefix that an entry is, or else what is wrong with it.
func (c *collector) understand(entry []byte) (p netip.Prefix, why string) {
	p, ok := ParsePrefix(entry)
	switch {
	case !ok:
		return p, notAnAddress(entry)
	case address.TooWide(p):
		return p, isWide
	case c.options.Own && bytes.IndexByte(entry, '/') >= 0:
		if cure := hostBits(entry); cure != "" {
			return p, "is neither an address nor a range: " + cure
		}
	}
	return p, ""
}

func (c *collector) take(p netip.Prefix) error {
	c.list.Lines++
	return c.list.Add(p)
}

// eachLine calls f with each line that is not blank and no comment.
func (c *collector) eachLine(r *bufio.Reader, f func(number int, line []byte) error) error {
	return EachLine(r, func(number int, line []byte) error {
		if line == nil {
			return c.reject(number, nil, tooLong)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 || isComment(line) {
			return nil
		}
		return f(number, line)
	})
}

// isComment reports whether the whole of a line is a comment.
func isComment(line []byte) bool {
	return line[0] == '#' || line[0] == ';' || bytes.HasPrefix(line, []byte("//"))
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
