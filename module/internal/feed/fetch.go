package feed

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed/fetch"
)

// validators identify the version of a part of a list.
type validators struct {
	fetch.Validators

	// Published is the publisher's date of the part. It does not make a request conditional.
	Published time.Time `json:"published,omitzero"`
}

// fetchParts reads all parts of a list with conditional requests. It returns
// nil if no part has changed. The known validators are those of the
// last good list.
func fetchParts(
	ctx context.Context, client *fetch.Client, spec *Spec, known []validators,
) (*content, []validators, error) {
	spec, err := spec.authorized(ctx)
	if err != nil {
		return nil, nil, err
	}
	all := spec.newContent()
	parts := make([]validators, len(spec.URLs))
	changed := len(known) != len(parts)
	var unsent []int
	for i := range parts {
		var since validators
		if !changed {
			since = known[i]
		}
		v, sent, err := spec.fetchPart(ctx, client, i, since, all)
		switch {
		case err != nil:
			return nil, nil, err
		case sent:
			parts[i], changed = v, true
		default:
			unsent = append(unsent, i)
		}
	}
	if !changed {
		return nil, nil, nil
	}
	for _, i := range unsent { // the list is replaced as a whole, so unchanged parts are needed too
		var err error
		if parts[i], _, err = spec.fetchPart(ctx, client, i, validators{}, all); err != nil {
			return nil, nil, err
		}
	}
	return all, parts, nil
}

// fetchPart adds one part to the list, unless the server answers that it has not changed.
func (s *Spec) fetchPart(
	ctx context.Context, client *fetch.Client, i int, since validators, to *content,
) (v validators, sent bool, err error) {
	document := fetch.Document{
		URL: s.URLs[i], Header: s.Header, Keyed: s.Authorize != nil, Known: since.Validators,
		Timeout: s.Timeout, Unpacker: s.unpacker(),
	}
	v.Validators, sent, err = client.Get(ctx, &document, func(body io.Reader) error {
		to.Published = time.Time{} // of the part before
		return s.read(body, false, to)
	})
	if err == nil && sent {
		v.date(to.Published, time.Now())
	}
	return v, sent, err
}

func (s *Spec) unpacker() fetch.Unpacker {
	return fetch.Unpacker{MaxBytes: s.MaxBytes, ArchiveParts: s.ArchiveParts, Redact: s.scrub}
}

// authorized returns the spec with the secrets filled into its headers.
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
