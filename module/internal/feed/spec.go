package feed

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// Kind is the kind of a list's source.
type Kind string

// The kinds.
const (
	KindURL    Kind = "url"
	KindFile   Kind = "file"
	KindValues Kind = "values"
	KindPushed Kind = "pushed"
)

const (
	minRefresh   = time.Minute
	maxConfirm   = 100
	ageRefreshes = 10 // see Spec.MaxAge
)

var validName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// Check returns an error if a spec is invalid.
func Check(s Spec) error {
	_, err := s.complete()
	return err
}

// complete returns the spec with its defaults filled in, or an error if it is invalid.
func (s Spec) complete() (Spec, error) {
	if !validName.MatchString(s.Name) {
		return s, fmt.Errorf("list name %q: use at most 64 lower-case letters, digits, _ and -, the first a letter",
			s.Name)
	}
	sources := 0
	for _, set := range []bool{len(s.URLs) > 0, s.File != "", s.Values != nil || s.ASNValues != nil, s.Pushed != ""} {
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
			return s, fmt.Errorf("list %s: URL number %d is not of the form https://host/path",
				s.Name, i+1)
		}
	}
	if s.MinRefresh <= 0 {
		s.MinRefresh = minRefresh
	}
	if s.Refresh == 0 {
		s.Refresh = max(DefaultRefresh, s.MinRefresh)
	}
	if len(s.URLs) > 0 && s.Refresh < s.MinRefresh {
		return s, fmt.Errorf("list %s: refresh %s is more often than the publisher tolerates: use %s or longer",
			s.Name, s.Refresh, s.MinRefresh)
	}
	if err := s.completeBounds(); err != nil {
		return s, fmt.Errorf("list %s: %w", s.Name, err)
	}
	s.Own = s.Own || s.Values != nil || s.ASNValues != nil
	if err := s.Format.Complete(); err != nil {
		return s, fmt.Errorf("list %s: %w", s.Name, err)
	}
	return s, nil
}

// completeBounds fills in the defaults of what bounds a list, or returns an error if a bound is invalid.
func (s *Spec) completeBounds() error {
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = DefaultMaxBytes
	}
	if s.MaxEntries == 0 {
		s.MaxEntries = DefaultMaxEntries
	}
	if s.Parts == 0 {
		s.Parts = 1
	}
	if s.MaxShrink == nil {
		s.MaxShrink = new(DefaultMaxShrink)
	}
	if s.Confirm == nil {
		s.Confirm = new(DefaultConfirm)
	}
	if s.MaxAge == 0 && len(s.URLs) > 0 {
		s.MaxAge = max(DefaultMaxAge, ageRefreshes*s.Refresh)
	}
	switch {
	case s.Timeout < 0:
		return fmt.Errorf("timeout %s: use a positive duration", s.Timeout)
	case s.MaxEntries < 0:
		return fmt.Errorf("maximum of %d entries: use a positive number", s.MaxEntries)
	case s.MaxBytes < 0:
		return fmt.Errorf("maximum size %d: use a positive number of bytes", s.MaxBytes)
	case s.Parts < 0 || s.Parts > MaxParts:
		return fmt.Errorf("%d parts: use 1 to %d", s.Parts, MaxParts)
	case !(*s.MaxShrink >= 0 && *s.MaxShrink <= 1):
		return fmt.Errorf("maximum shrink %v: use a share from 0 to 1", *s.MaxShrink)
	case *s.Confirm != 0 && (*s.Confirm < 2 || *s.Confirm > maxConfirm):
		return fmt.Errorf("confirm %d: use 2 to %d fetches, or 0 to believe no list that shrank", *s.Confirm, maxConfirm)
	case s.MaxAge < 0:
		return fmt.Errorf("maximum age %s: use a positive duration", s.MaxAge)
	}
	return nil
}

// read adds the entries of r to a list. With strict, the first wrong one is an error.
func (s *Spec) read(r io.Reader, strict bool, to *content) error {
	err := to.Read(r, s.Format, listformat.Options{Own: s.Own, Strict: strict, Redact: s.scrub})
	var result Result
	switch {
	case errors.Is(err, listformat.ErrHTML):
		result = ResultHTML
	case errors.Is(err, listformat.ErrNotText):
		result = ResultNotText
	case errors.Is(err, listformat.ErrUnparsable):
		result = ResultUnparsable
	default:
		return err // nil, or the reader's
	}
	return &failure{result: result, err: err}
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

// origin returns the list's source without secrets: the host, the
// path of the file, or the name of the pushing source.
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

// fingerprint identifies a list, so that its copy is never used for another list of the same name.
// It is stored on disk, so it is a digest, since the query of a URL may hold a key. Other
// credentials are left out.
func (s *Spec) fingerprint() string {
	urls := make([]string, len(s.URLs))
	for i, raw := range s.URLs {
		if u, err := url.Parse(raw); err == nil {
			u.User = nil
			urls[i] = u.String()
		}
	}
	format := s.Format
	format.Encoding = cmp.Or(format.Encoding, listformat.Text) // as older versions had it
	text, err := json.Marshal(struct {
		URLs   []string
		File   string
		Own    bool
		Format listformat.Format
		Pushed string `json:",omitempty"` // so that fetched lists have the fingerprint of older versions
		Filter string `json:",omitempty"` // likewise
		ASNs   bool   `json:",omitempty"` // likewise
	}{urls, s.File, s.Own, format, s.Pushed, s.Filter, s.ASNs})
	if err != nil {
		panic(err) // strings, a bool and a number: cannot happen
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// scrub removes the operator's secrets from a text of a server or a library: an error page may
// quote the key that the server refused.
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
		if len(secret) >= 4 { // without words like "v4", texts would be unreadable
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}
