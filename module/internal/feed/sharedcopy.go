package feed

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed/fetch"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// A shared copy is the text of a copy on disk, compressed, without the name that the list has here.

// shareKey identifies a list among the instances. Lists share copies if their URLs and formats are the
// same, and their headers, of which only those count that select what the publisher sends: others may
// hold secrets.
func (s *Spec) shareKey() string {
	header := make([]string, 0, len(s.Header))
	for name, values := range s.Header {
		if name = http.CanonicalHeaderKey(name); strings.HasPrefix(name, "Accept") {
			name += ": " + strings.Join(values, ",")
		}
		header = append(header, name)
	}
	slices.Sort(header)
	text, err := json.Marshal([]any{s.fingerprint(), header})
	if err != nil {
		panic(err) // strings: cannot happen
	}
	return shortDigest(text)
}

func shortDigest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// sharedText returns the copy to share, and its version. There is no text if the version is the shared one,
// and no version if the list cannot be shared: it is too large, or another instance would refuse it.
func (l *list) sharedText(shared string) (version string, text []byte) {
	l.mu.Lock()
	h := l.st.header
	l.mu.Unlock()
	h.name = ""
	header := h.appendText(nil)
	if version = shortDigest(header); version == shared {
		return version, nil
	}
	shares := l.body()
	for p := range shares.ranges.Prefixes() {
		if address.TooWide(p) { // neighbours in the source that are one prefix here
			return "", nil
		}
	}
	text = compress(func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		_, err := shares.write(w)
		return err
	})
	if text == nil {
		return "", nil
	}
	return version, text
}

// readShared reads a shared copy, by the rules for lists of others. Nothing in it may be wrong, since an
// instance wrote it.
func (l *list) readShared(text []byte) (received, error) {
	plain, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return received{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	in := bufio.NewReaderSize(fetch.Limit(plain, l.spec.MaxBytes), listformat.MaxLine)
	h, err := parseCopyHeader(in)
	if err != nil {
		return received{}, err
	}
	sum := sha256.New()
	c := l.spec.newContent()
	format := listformat.Format{Encoding: listformat.Text}
	if err := c.Read(io.TeeReader(in, sum), format, listformat.Options{Strict: true}); err != nil {
		return received{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	switch {
	case h.spec != l.fingerprint:
		return received{}, errForeign
	case hex.EncodeToString(sum.Sum(nil)) != h.sum, c.Lines != h.entries,
		h.lines < h.entries, int64(h.lines) > l.spec.MaxBytes*int64(len(l.spec.URLs)):
		return received{}, fmt.Errorf("%w: its checksum does not match", errDamaged)
	}
	for i, v := range h.parts {
		if !v.Sendable() {
			h.parts[i] = validators{}
		}
	}
	h.believeDates(time.Now())
	return received{content: c, parts: h.parts, lines: h.lines, fetched: h.fetched}, nil
}

// compress returns what is written, compressed, or nil if that is more than MaxShared.
func compress(write func(io.Writer) error) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&boundedWriter{&b}, gzip.BestSpeed)
	if err != nil || write(w) != nil || w.Close() != nil {
		return nil
	}
	return b.Bytes()
}

// boundedWriter writes up to MaxShared bytes.
type boundedWriter struct{ to *bytes.Buffer }

func (w *boundedWriter) Write(b []byte) (int, error) {
	if w.to.Len()+len(b) > MaxShared {
		return 0, io.ErrShortBuffer
	}
	return w.to.Write(b)
}
