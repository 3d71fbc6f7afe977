package feed

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// The copy of a pushed list has the same header as other copies, and then one entry a line: the
// CIDR, such as 192.0.2.0/24, the ASN, such as AS64500, or the country, such as US; the ID; when the
// entry expires, in seconds since 1970, or "-"; and its part, unless that is the first. The checksum
// is in the last line, since the list is written in one pass.
const (
	pushedSuffix = ".pushed"
	sumPrefix    = "# sum: "
	laterSum     = "at the end"
)

// savePushed writes the list to disk if it has changed. After a failure, the next call tries again.
func (l *list) savePushed() {
	p := l.pushed
	if !l.set.writes.Load() {
		return
	}
	p.mu.Lock()
	all, changed, needed := p.entries, p.changed, p.unsaved && p.loaded
	p.unsaved = false
	p.mu.Unlock()
	if l.copyPath == "" || !needed {
		return
	}
	h := copyHeader{
		name: l.spec.Name, source: l.spec.origin(), spec: l.fingerprint, fetched: changed,
		lines: all.count(), entries: all.count(), sum: laterSum,
	}
	err := atomicfile.Write(l.copyPath, func(w io.Writer) error { return writePushed(w, &h, &all) })
	if l.recordStored(err); err != nil {
		p.mu.Lock()
		p.unsaved = true
		p.mu.Unlock()
	}
}

func writePushed(w io.Writer, h *copyHeader, all *entries) error {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	if _, err := out.Write(h.appendText(nil)); err != nil {
		return err
	}
	var line []byte
	for e := range all.all() {
		line = appendEntry(line[:0], e)
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s%s\n", sumPrefix, hex.EncodeToString(sum.Sum(nil)))
	return err
}

func appendEntry(b []byte, e Entry) []byte {
	switch {
	case e.ASN != 0:
		b = nameOfASN(e.ASN).appendTo(b)
	case e.Country != [2]byte{}:
		b = append(b, e.Country[:]...)
	default:
		b = e.Prefix.AppendTo(b)
	}
	b = append(b, ' ')
	b = append(strconv.AppendUint(b, e.ID, 10), ' ')
	if e.Until.IsZero() {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, e.Until.Unix(), 10)
	}
	if e.Part != 0 {
		b = strconv.AppendUint(append(b, ' '), uint64(e.Part), 10)
	}
	return append(b, '\n')
}

func parseEntry(line []byte) (e Entry, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) != 3 && len(fields) != 4 {
		return e, false
	}
	if e.Prefix, ok = listformat.ParsePrefix(fields[0]); !ok {
		n := parseName(string(fields[0]))
		if n == 0 {
			return e, false
		}
		e.ASN, e.Country = n.parts()
	}
	var err error
	if e.ID, err = strconv.ParseUint(string(fields[1]), 10, 48); err != nil {
		return e, false
	}
	if len(fields) == 4 {
		part, err := strconv.ParseUint(string(fields[3]), 10, 8)
		if err != nil {
			return e, false
		}
		e.Part = uint8(part)
	}
	if string(fields[2]) != "-" {
		until, err := strconv.ParseUint(string(fields[2]), 10, 32)
		if err != nil {
			return e, false
		}
		e.Until = time.Unix(int64(until), 0)
	}
	return e, true
}

// openPushed loads a pushed list from its copy. The first rebuild
// removes the entries that have expired since.
func (l *list) openPushed() {
	p := l.pushed
	p.next = never
	if l.copyPath == "" {
		return
	}
	all, h, confirmed, err := loadPushed(l.copyPath, l.fingerprint, l.spec.MaxEntries, l.spec.Parts)
	switch {
	case err == nil:
		if confirmed.After(time.Now()) {
			confirmed = time.Time{}
		}
		p.entries, p.loaded, p.dirty, p.changed = all, true, true, h.fetched
		l.st.header, l.st.stored, l.st.lastSuccess, l.st.loaded = h, true, confirmed, true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errForeign):
	default:
		l.set.logger.Warn("the copy of a pushed list cannot be read; the list comes anew",
			"feed", l.spec.Name, "file", l.copyPath, "error", err)
	}
}

// loadPushed reads the copy at path, if it belongs to the spec with the given fingerprint. written
// is when it was written.
func loadPushed(
	path, fingerprint string, most, parts int,
) (all entries, h copyHeader, written time.Time, err error) {
	f, info, err := regularfile.Open(path, maxCopy)
	if err != nil {
		return all, h, written, err
	}
	defer f.Close()
	if all, h, err = readPushed(f, most, parts); err == nil && h.spec != fingerprint {
		err = errForeign
	}
	return all, h, info.ModTime(), err
}

func readPushed(r io.Reader, most, parts int) (all entries, h copyHeader, err error) {
	sum := sha256.New()
	in := bufio.NewReaderSize(r, listformat.MaxLine)
	if h, err = parseCopyHeader(in); err != nil {
		return all, h, err
	}
	sum.Write(h.appendText(nil))
	complete := false
	err = listformat.EachLine(in, func(number int, line []byte) error {
		switch e, ok := parseEntry(line); {
		case complete:
			return fmt.Errorf("%w: it goes on after its end", errDamaged)
		case ok && int(e.Part) >= parts:
			return fmt.Errorf("%w: line %d is of a part that the list has not", errDamaged, number)
		case ok && all.count() < most:
			sum.Write(line)
			sum.Write([]byte("\n"))
			all.add(e)
		case ok:
			return fmt.Errorf("%w: it has more than %d entries", errDamaged, most)
		case !isSum(line, sum):
			return fmt.Errorf("%w: line %d is no entry", errDamaged, number)
		default:
			complete = true
		}
		return nil
	})
	switch {
	case err != nil:
		return entries{}, h, err
	case !complete || all.count() != h.entries:
		return entries{}, h, fmt.Errorf("%w: it breaks off", errDamaged)
	}
	all.sort()
	return all, h, nil
}

func isSum(line []byte, sum hash.Hash) bool {
	want, found := bytes.CutPrefix(line, []byte(sumPrefix))
	return found && string(want) == hex.EncodeToString(sum.Sum(nil))
}
