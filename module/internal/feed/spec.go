package feed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Kind says where a list comes from.
type Kind string

// The kinds.
const (
	KindURL    Kind = "url"
	KindFile   Kind = "file"
	KindValues Kind = "values"
	KindPushed Kind = "pushed"
)

// Encoding is the notation of a list.
type Encoding string

// The encodings.
const (
	// Text has one address or CIDR a line, in the first field; fields end at a space, tab, comma or semicolon. What
	// follows "#", ";" or "//" is a comment. It is the default.
	Text Encoding = "text"

	// NDJSON has one JSON object a line. Lines with "type":"metadata" and without the members are skipped.
	NDJSON Encoding = "ndjson"

	// JSON is one array of strings or objects, or one object whose arrays are such.
	JSON Encoding = "json"

	// CSV has a header line that names the columns. Lines that begin with "#" are comments.
	CSV Encoding = "csv"
)

// Format says how a list is written.
type Format struct {
	// Encoding is the notation. Default: Text.
	Encoding Encoding

	// Members are the JSON members, or the one CSV column, that hold an address or CIDR. An object may have several of
	// them, such as ipv4Prefix and ipv6Prefix. Text has none.
	Members []string

	// MinCount, when above 0, lists only entries whose second field is at least this number. For Text only.
	MinCount int
}

const minRefresh = time.Minute

var validName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// Check reports what is wrong with a spec.
func Check(s Spec) error {
	_, err := s.complete()
	return err
}

// complete returns the spec with its defaults, or an error that says what is wrong with it.
func (s Spec) complete() (Spec, error) {
	if !validName.MatchString(s.Name) {
		return s, fmt.Errorf("list name %q: use at most 64 lower-case letters, digits, _ and -, the first a letter", s.Name)
	}
	sources := 0
	for _, set := range []bool{len(s.URLs) > 0, s.File != "", s.Values != nil, s.Pushed != ""} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		return s, fmt.Errorf("list %s: give either URLs, a file or values", s.Name)
	}
	for i, raw := range s.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return s, fmt.Errorf("list %s: URL number %d is not of the form https://host/path", s.Name, i+1)
		}
	}
	if s.MinRefresh <= 0 {
		s.MinRefresh = minRefresh
	}
	if s.Refresh == 0 {
		s.Refresh = max(DefaultRefresh, s.MinRefresh)
	}
	if len(s.URLs) > 0 && s.Refresh < s.MinRefresh {
		return s, fmt.Errorf("list %s: refresh %s is more often than the publisher tolerates: use %s or longer", s.Name, s.Refresh, s.MinRefresh)
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = DefaultMaxBytes
	}
	if s.MaxEntries == 0 && s.Pushed != "" {
		s.MaxEntries = DefaultMaxEntries
	}
	if s.MaxShrink == nil {
		s.MaxShrink = new(DefaultMaxShrink)
	}
	switch {
	case s.Timeout < 0:
		return s, fmt.Errorf("list %s: timeout %s: use a positive duration", s.Name, s.Timeout)
	case s.MaxEntries < 0:
		return s, fmt.Errorf("list %s: maximum of %d entries: use a positive number", s.Name, s.MaxEntries)
	case s.MaxBytes < 0:
		return s, fmt.Errorf("list %s: maximum size %d: use a positive number of bytes", s.Name, s.MaxBytes)
	case !(*s.MaxShrink >= 0 && *s.MaxShrink <= 1):
		return s, fmt.Errorf("list %s: maximum shrink %v: use a share from 0 to 1", s.Name, *s.MaxShrink)
	}
	s.Own = s.Own || s.Values != nil
	return s, s.Format.complete(s.Name)
}

func (f *Format) complete(list string) error {
	if f.Encoding == "" {
		f.Encoding = Text
	}
	switch f.Encoding {
	case Text:
		if len(f.Members) > 0 {
			return fmt.Errorf("list %s: the text format has no member %q: use ndjson, json or csv", list, f.Members[0])
		}
	case NDJSON:
		if len(f.Members) == 0 {
			return fmt.Errorf("list %s: name the JSON member that holds the address", list)
		}
	case JSON: // arrays of strings need no member
	case CSV:
		if len(f.Members) != 1 {
			return fmt.Errorf("list %s: name the one CSV column that holds the address", list)
		}
	default:
		return fmt.Errorf("list %s: unknown format %q: use text, ndjson, json or csv", list, f.Encoding)
	}
	if f.MinCount < 0 || f.MinCount > 0 && f.Encoding != Text {
		return fmt.Errorf("list %s: minimum count %d: use a positive number, with the text format", list, f.MinCount)
	}
	return nil
}

func (s *Spec) kind() Kind {
	switch {
	case len(s.URLs) > 0:
		return KindURL
	case s.File != "":
		return KindFile
	case s.Pushed != "":
		return KindPushed
	}
	return KindValues
}

// origin returns the list's source without secrets: the host, or the path of the file.
func (s *Spec) origin() string {
	switch s.kind() {
	case KindURL:
		u, err := url.Parse(s.URLs[0])
		if err != nil {
			return ""
		}
		return u.Host
	case KindFile:
		return s.File
	case KindPushed:
		return s.Pushed
	}
	return string(KindValues)
}

// fingerprint identifies a list, so that its copy is never used for another list of the same name. It is stored on disk:
// it has no credentials, and the query of a URL, which may hold a key, only as part of a digest.
func (s *Spec) fingerprint() string {
	urls := make([]string, len(s.URLs))
	for i, raw := range s.URLs {
		if u, err := url.Parse(raw); err == nil {
			u.User = nil
			urls[i] = u.String()
		}
	}
	text, err := json.Marshal(struct {
		URLs   []string
		File   string
		Own    bool
		Format Format
		Pushed string `json:",omitempty"` // copies of fetched lists have their fingerprint of before
	}{urls, s.File, s.Own, s.Format, s.Pushed})
	if err != nil {
		panic(err) // strings, a bool and a number: cannot happen
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// authorized returns the spec with the secrets in its headers.
func (s *Spec) authorized(ctx context.Context) (*Spec, error) {
	if s.Authorize == nil {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	header, err := s.Authorize(ctx, s.Header.Clone())
	if err != nil {
		return nil, fmt.Errorf("what the publisher wants to see is missing: %w", err)
	}
	resolved := *s
	resolved.Header = header
	return &resolved, nil
}

// scrub removes the operator's secrets from a text that comes from a server or a library: a page may quote the key that
// it refuses.
func (s *Spec) scrub(text string) string {
	var secrets []string
	for _, raw := range s.URLs {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		secrets = append(secrets, u.RawQuery)
		for _, values := range u.Query() {
			secrets = append(secrets, values...)
		}
		if password, ok := u.User.Password(); ok {
			secrets = append(secrets, password)
		}
		secrets = append(secrets, u.User.Username())
	}
	for _, values := range s.Header {
		for _, v := range values {
			secrets = append(append(secrets, v), strings.Fields(v)...)
		}
	}
	// The longest first: a shorter secret may be part of a longer one.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range secrets {
		if len(secret) >= 4 { // shorter ones are no secrets, and words like "v4" would make texts unreadable
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}
