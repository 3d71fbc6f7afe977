package feed

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed/fetch"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// A copy is an accepted list on disk: a header of "#" lines, then one CIDR or ASN a line, so that
// operators can search it. Its modification time is when the publisher last confirmed it. The
// status 304 updates that time.
const (
	copySuffix = ".list"
	waitSuffix = ".wait" // the end of the pause that the publisher asked for
	maxWait    = 1 << 10
	copyTitle  = "# caddy-ip-reputation list, version 1. Made from its source: changes here are lost"
)

// maxCopy is the maximum size of a copy, in bytes. It has room for a list of 64 million CIDRs.
const maxCopy = 1 << 30

// copyHeader holds the first lines of a copy.
type copyHeader struct {
	name    string
	source  string
	spec    string // fingerprint of the spec
	fetched time.Time
	lines   int // in the source
	entries int // in the copy
	parts   []validators
	sum     string // of everything after the header
}

// content identifies the entries, and is empty if there are none.
func (h *copyHeader) content() string {
	if h.entries == 0 {
		return ""
	}
	return h.sum
}

var (
	errDamaged = errors.New("the copy is damaged")
	errForeign = errors.New("the copy is of another list of the same name")
)

func (h *copyHeader) appendText(b []byte) []byte {
	b = fmt.Appendf(b,
		"%s\n# name: %s\n# source: %s\n# spec: %s\n# fetched: %s\n# lines: %d\n# entries: %d\n",
		copyTitle, h.name, h.source, h.spec, h.fetched.UTC().Format(time.RFC3339), h.lines, h.entries)
	for _, v := range h.parts {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // two strings: cannot happen
		}
		b = fmt.Appendf(b, "# part: %s\n", text)
	}
	return fmt.Appendf(b, "# sha256: %s\n", h.sum)
}

// parseCopyHeader reads up to the checksum, which is the last line of the header.
func parseCopyHeader(r *bufio.Reader) (h copyHeader, err error) {
	for first := true; ; first = false {
		raw, err := r.ReadSlice('\n')
		if err != nil {
			return h, fmt.Errorf("%w: its header breaks off", errDamaged)
		}
		line := strings.TrimSuffix(string(raw), "\n")
		if first {
			if line != copyTitle {
				return h, fmt.Errorf("%w: it does not begin like one", errDamaged)
			}
			continue
		}
		key, value, _ := strings.Cut(strings.TrimPrefix(line, "# "), ": ")
		if err := h.set(key, value); err != nil {
			return h, fmt.Errorf("%w: its header has a wrong line %.40q", errDamaged, line)
		}
		if key == "sha256" {
			return h, nil
		}
	}
}

func (h *copyHeader) set(key, value string) (err error) {
	switch key {
	case "name":
		h.name = value
	case "source":
		h.source = value
	case "spec":
		h.spec = value
	case "fetched":
		h.fetched, err = time.Parse(time.RFC3339, value)
	case "lines":
		h.lines, err = strconv.Atoi(value)
	case "entries":
		h.entries, err = strconv.Atoi(value)
	case "part":
		var v validators
		err = json.Unmarshal([]byte(value), &v)
		h.parts = append(h.parts, v)
	case "sha256":
		h.sum = value
	default:
		err = errDamaged
	}
	return err
}

// digest returns the checksum of a list's body and the number of its lines.
func digest(b *body) (sum string, entries int) {
	hash := sha256.New()
	entries, _ = b.write(hash) // writing to a hash never fails
	return hex.EncodeToString(hash.Sum(nil)), entries
}

func readCopy(r io.Reader) (h copyHeader, read *body, err error) {
	buffered := bufio.NewReaderSize(r, listformat.MaxLine)
	if h, err = parseCopyHeader(buffered); err != nil {
		return h, nil, err
	}
	var all iplist.Builder
	var named names
	entries := 0
	hash := sha256.New()
	err = listformat.EachLine(io.TeeReader(buffered, hash), func(number int, line []byte) error {
		entries++
		if p, ok := listformat.ParsePrefix(line); ok {
			all.Add(p)
			return nil
		}
		n := parseName(string(line))
		if n == 0 {
			return fmt.Errorf("%w: entry %d is no CIDR", errDamaged, number)
		}
		named = append(named, n)
		return nil
	})
	if err != nil {
		return h, nil, err
	}
	if hex.EncodeToString(hash.Sum(nil)) != h.sum || entries != h.entries {
		return h, nil, fmt.Errorf("%w: its checksum does not match", errDamaged)
	}
	return h, &body{all.Ranges(), named.sorted()}, nil
}

// loadCopy reads the copy at path, if it belongs to the spec with the given fingerprint. confirmed
// is when the publisher last confirmed it.
func loadCopy(
	path, fingerprint string,
) (h copyHeader, read *body, confirmed time.Time, err error) {
	f, info, err := regularfile.Open(path, maxCopy)
	if err != nil {
		return h, nil, confirmed, err
	}
	defer f.Close()
	if h, read, err = readCopy(f); err == nil && h.spec != fingerprint {
		err = errForeign
	}
	h.believeDates(time.Now())
	return h, read, info.ModTime(), err
}

// confirmCopy sets the time of the copy at path to now, if the copy
// is intact and is the list that h describes.
func confirmCopy(path string, h *copyHeader, now time.Time) bool {
	found, _, _, err := loadCopy(path, h.spec)
	return err == nil && found.sum == h.sum && slices.Equal(found.parts, h.parts) &&
		os.Chtimes(path, now, now) == nil
}

// saveCopy replaces the copy at path, confirmed at now.
func saveCopy(path string, h *copyHeader, b *body, now time.Time) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		if _, err := w.Write(h.appendText(nil)); err != nil {
			return err
		}
		_, err := b.write(w)
		return err
	})
	if err != nil {
		return err
	}
	return os.Chtimes(path, now, now)
}

// prepareDir creates the directory for copies and removes the remains of interrupted writes. It
// returns "" if the directory cannot be used.
func prepareDir(dir string, logger *slog.Logger) string {
	if dir == "" {
		return ""
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		logger.Warn("lists are kept in memory only and fetched anew after a restart: make the directory writable",
			"directory", dir, "error", err)
		return ""
	}
	atomicfile.Clean(dir) // Write cleans too, but unchanged lists are not written
	return dir
}

// saveWait stores the end of the pause that the publisher asked for, so that a restart respects it.
func saveWait(path, fingerprint string, until time.Time) error {
	return atomicfile.WriteBytes(path,
		fmt.Appendf(nil, "%s %s\n", fingerprint, until.UTC().Format(time.RFC3339)))
}

// loadWait returns the time that saveWait stored, at most a day ahead, or the zero time.
func loadWait(path, fingerprint string, now time.Time) time.Time {
	text, err := regularfile.Read(path, maxWait)
	if err != nil {
		return time.Time{}
	}
	owner, end, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	until, err := time.Parse(time.RFC3339, end)
	if err != nil || owner != fingerprint || until.Before(now) || until.After(now.Add(fetch.MaxPause)) {
		return time.Time{}
	}
	return until
}

// removeFile removes a file that stores a wait, or what was seen of a list.
func removeFile(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Truncate(path, 0) // an empty file means none, too
	}
}
