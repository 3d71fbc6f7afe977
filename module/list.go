package module

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// Formats returns the words for ListOptions.Format.
func Formats() []string { return append(listformat.Encodings(), formatASN) }

// List is a list of your own: of addresses that are exempt, or denied. In JSON, a text such as `"203.0.113.0/24"`
// stands for `{"sources": ["203.0.113.0/24"]}`.
type List struct {
	// Where the list comes from, as for a feed: a preset, or URLs that make up one list together, or a file, or addresses,
	// CIDR ranges and autonomous systems such as `AS64500`. Presets of attackers and of clouds cannot be exempt. Required.
	Sources []string `json:"sources,omitempty"`

	// The name of the list in `status`, in the log, in metrics, in the data folder and for `refresh`: lower-case letters,
	// digits, `_` and `-`, the first a letter. Default: `exempt` or `deny`; with `_` and the preset's name, or the
	// file's, or eight digits for a URL.
	Name string `json:"name,omitempty"`

	ListOptions
}

// ListOptions say how a list is fetched, read and guarded.
type ListOptions struct {
	// How often URLs are fetched. A preset is never fetched more often than its publisher allows. Default: the preset's,
	// else 1h.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// How long one fetch may take. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Headers sent when the list is fetched, for lists that need a token. Placeholders are resolved for every
	// request, so that a file that changes is used without a reload; `{key}` stands for the key. They may be secret, so
	// that with any but `Accept…` a redirect to another host is not followed. Default: the preset's, else none.
	Header map[string]string `json:"header,omitempty"`

	// The publisher's key for you. It is sent where a header has `{key}` in it, such as `Authorization "Bearer {key}"`.
	// A preset that needs it knows its header. Needed for a key in a store, or for a warning before the key ends.
	// Default: none.
	Key *secret.Secret `json:"key,omitempty"`

	// How the list is written: `text` (one address or range a line), `ranges` (`A - B`, `A B`, an address and a
	// netmask, `name:A-B`), `dshield`, `csv`, `json`, `ndjson`, `ipset`, `iptables`, `nginx`, `apache`, `hosts` or `onionoo`;
	// docs/sources.md has an example of each. Lines that are written otherwise are wrong. `asn` is a list of autonomous
	// systems, such as `AS64500` or `64500`, as text, CSV or JSON: whose address belongs to one of them is on the list.
	// That takes a source that knows the network of an address. Default: the preset's, else what most of the first lines
	// are.
	Format string `json:"format,omitempty"`

	// Where the addresses are: the name or number of a column (`csv`), names of sets (`ipset`), or members (`json`,
	// `ndjson`). A member holds an address, or an array of addresses. It is named as it is within an entry of the list,
	// such as `ip`, or within the whole document, such as `hooks` in `{"hooks": ["192.0.2.1"], …}`; then other arrays are
	// left out. A dot leads to a member of a member, such as `properties.addressPrefixes`. A name with `[]` or `*` is a
	// path from the whole document on, where `[]` stands for all elements of an array and `*` for any name, such as
	// `prefixes[].ipv4Prefix` or `*.ip`. Default: the preset's, else none, which is right where addresses are in one place only; a list
	// that has them in several is refused, and the error names the places.
	Field []string `json:"field,omitempty"`

	// The least number in the second column of a `text` list for an entry to count, as in ipsum, where it is the number
	// of other lists that name the address. Zero takes all. Default: the preset's (`ipsum`: 3), else 0.
	MinCount int `json:"min_count,omitempty"`

	// The largest list that is accepted, in bytes after decompression. Default: 64 MiB.
	MaxSize int64 `json:"max_size,omitempty"`

	// The largest number of ranges that the list may have, after duplicates and neighbours are merged. It bounds the
	// memory that the list takes. Default: 2000000.
	MaxEntries int `json:"max_entries,omitempty"`

	// The share of its entries that a list may lose from one fetch to the next. One that loses more is refused, and the
	// old one stays in force, until `confirm` fetches agree. Default: the preset's (`feodo`: 1), else 0.5.
	MaxShrink *float64 `json:"max_shrink,omitempty"`

	// How many fetches must bring the shrunken list, of about the same size, until it is believed. The first and the last
	// of them are a day apart or more, so that a publisher's bad day is not believed. At least 2, or zero: a list that
	// shrank is believed only when you say so, by `caddy ip-reputation refresh <list> --accept`. Default: 3.
	Confirm *int `json:"confirm,omitempty"`

	// How old the list may be by its publisher's own date, until `status`, the health check, the log and an alert warn
	// you: publishers give up lists that go on being served. The date is in the list, or it is the `Last-Modified` of
	// the answer; without either there is no warning. Files have such a date, too, and the warning if you set this.
	// Default: the preset's, else 30 days, or ten times `refresh` if that is longer.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// Whether an empty list is believed. Default: the preset's (`feodo`: yes), else no.
	AllowEmpty bool `json:"allow_empty,omitempty"`
}

// MarshalJSON writes a list that has nothing but one source as the text of that source.
func (l List) MarshalJSON() ([]byte, error) {
	if len(l.Sources) == 1 && l.Name == "" && reflect.ValueOf(l.ListOptions).IsZero() {
		return json.Marshal(l.Sources[0])
	}
	type object List
	return json.Marshal(object(l))
}

// UnmarshalJSON reads a list, which may be the text of its one source.
func (l *List) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte(`"`)) {
		l.Sources = make([]string, 1)
		return json.Unmarshal(text, &l.Sources[0])
	}
	type object List
	if err := caddy.StrictUnmarshalJSON(text, (*object)(l)); err != nil {
		return fmt.Errorf(`a list is a text, or an object such as {"sources": ["https://…"]}: %w`, err)
	}
	return nil
}

// formatASN is the format of lists of autonomous systems: what their entries are, and not how they are written.
const formatASN = "asn"

// replace sets what the options say otherwise than the list's preset. The headers, which may be secrets, are left out.
func (o *ListOptions) replace(spec *feed.Spec) error {
	if o.Refresh < 0 || o.Timeout < 0 || o.MaxAge < 0 {
		return fmt.Errorf("refresh %s, timeout %s, max_age %s: use positive durations",
			time.Duration(o.Refresh), time.Duration(o.Timeout), time.Duration(o.MaxAge))
	}
	if err := o.checkUse(spec); err != nil {
		return err
	}
	if o.Refresh != 0 {
		spec.Refresh = time.Duration(o.Refresh)
	}
	if o.Timeout != 0 {
		spec.Timeout = time.Duration(o.Timeout)
	}
	if o.MaxSize != 0 {
		spec.MaxBytes = o.MaxSize
	}
	if o.MaxEntries != 0 {
		spec.MaxEntries = o.MaxEntries
	}
	if o.MaxShrink != nil {
		spec.MaxShrink = o.MaxShrink
	}
	if o.Confirm != nil {
		spec.Confirm = o.Confirm
	}
	if o.MaxAge != 0 {
		spec.MaxAge = time.Duration(o.MaxAge)
	}
	if o.MinCount != 0 {
		spec.Format.MinCount = o.MinCount
	}
	switch o.Format {
	case "":
	case formatASN:
		spec.ASNs, spec.Format.Encoding = true, ""
	default:
		spec.Format.Encoding = listformat.Encoding(o.Format)
	}
	if len(o.Field) > 0 {
		spec.Format.Members = o.Field
	}
	spec.AllowEmpty = spec.AllowEmpty || o.AllowEmpty
	return nil
}

// checkUse reports an option that means nothing for the list, since it is not fetched, or not even read.
func (o *ListOptions) checkUse(spec *feed.Spec) error {
	if len(spec.URLs) > 0 {
		return nil
	}
	for _, option := range []struct {
		word         string
		given, files bool
	}{
		{"refresh", o.Refresh != 0, false},
		{"timeout", o.Timeout != 0, false},
		{"header", len(o.Header) > 0, false},
		{"key", o.Key != nil, false},
		{"max_shrink", o.MaxShrink != nil, true},
		{"confirm", o.Confirm != nil, false},
		{"format", o.Format != "", true},
		{"field", len(o.Field) > 0, true},
		{"min_count", o.MinCount != 0, true},
		{"max_size", o.MaxSize != 0, true},
		{"max_entries", o.MaxEntries != 0, true},
		{"max_age", o.MaxAge != 0, true},
		{"allow_empty", o.AllowEmpty, true},
	} {
		switch {
		case option.given && spec.File != "" && !option.files:
			return fmt.Errorf("%s is for URLs, and %s is a file, which is read when it changes: remove %[1]s",
				option.word, spec.File)
		case option.given && spec.File == "":
			return fmt.Errorf("%s is for lists that are fetched or read, and these are ranges: remove %[1]s", option.word)
		}
	}
	return nil
}

// errNoSource is the error for a list that comes from nowhere.
var errNoSource = errors.New("no source is given")
