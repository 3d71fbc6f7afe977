package crowdsec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/jsonstream"
)

// decision is one decision as it is written in an answer.
type decision struct {
	id        uint64
	origin    string
	scenario  string
	scope     string
	kind      string // its type
	value     string
	duration  time.Duration
	simulated bool

	wrong error // what was not understood
}

// errNoStream is the error for an answer that is JSON, and no stream of decisions.
var errNoStream = errors.New("the answer is no stream of decisions: is the URL that of the local API?")

// decoder reads the answer to a question for decisions, one decision at a time.
type decoder struct {
	in      *jsonstream.Reader
	strings map[string]string // origins, scenarios, scopes and types, which repeat
}

// maxStrings bounds the memory of decoder.strings.
const maxStrings = 10_000

func newDecoder(r io.Reader) *decoder {
	return &decoder{in: jsonstream.New(r), strings: make(map[string]string)}
}

// decode calls each for every decision in an answer, in the order in which they are written. The
// decision is valid during the call. An answer has both members, of which either may be null:
// anything else was not written by the API, or was cut.
func (d *decoder) decode(each func(deleted bool, x *decision) error) error {
	first, err := d.in.Peek()
	switch {
	case err != nil:
		return describe(err)
	case first == '<':
		return errors.New("the answer is HTML: is the URL that of the local API, or does a proxy answer?")
	case first != '{':
		return errNoStream
	}
	var added, deleted bool
	err = d.in.Object(func(name []byte) error {
		switch string(name) {
		case "new":
			added = true
			return d.list(func(x *decision) error { return each(false, x) })
		case "deleted":
			deleted = true
			return d.list(func(x *decision) error { return each(true, x) })
		}
		return d.in.Skip()
	})
	if err == nil {
		err = d.in.End()
	}
	if err == nil && (!added || !deleted) {
		err = errNoStream
	}
	return describe(err)
}

// describe completes an error about the document to a sentence.
func describe(err error) error {
	if _, wrong := errors.AsType[*jsonstream.Error](err); wrong {
		return fmt.Errorf("the answer %w", err)
	}
	return err
}

func (d *decoder) list(each func(*decision) error) error {
	first, err := d.in.Peek()
	switch {
	case err != nil:
		return err
	case first == 'n':
		return d.in.Skip()
	case first != '[':
		return errNoStream
	}
	var x decision
	return d.in.Array(func() error {
		if first, err := d.in.Peek(); err != nil {
			return err
		} else if first != '{' {
			return errNoStream
		}
		x = decision{}
		hasID := false
		if err := d.in.Object(func(name []byte) error { return d.member(name, &x, &hasID) }); err != nil {
			return err
		}
		if !hasID && x.wrong == nil {
			x.wrong = errors.New("it has no ID")
		}
		return each(&x)
	})
}

// member reads one member of a decision.
func (d *decoder) member(name []byte, x *decision, hasID *bool) error {
	var text *string
	switch string(name) {
	case "origin":
		text = &x.origin
	case "scenario":
		text = &x.scenario
	case "scope":
		text = &x.scope
	case "type":
		text = &x.kind
	case "value", "duration", "id", "simulated":
	default:
		return d.in.Skip()
	}
	member := string(name) // of a fixed set; the reader's buffer is used again
	switch first, err := d.in.Peek(); {
	case err != nil:
		return err
	case first == '{' || first == '[':
		x.note(fmt.Errorf("its %s is no text and no number", member))
		return d.in.Skip()
	}
	value, isString, err := d.in.Scalar()
	switch {
	case err != nil:
		return err
	case !isString && bytes.Equal(value, []byte("null")):
		return nil // absent
	case text != nil && isString:
		*text = d.intern(value)
	case member == "value" && isString:
		x.value = string(value)
	case member == "duration" && isString:
		if x.duration, err = time.ParseDuration(string(value)); err != nil {
			x.note(errors.New("its duration is not understood"))
		}
	case member == "id" && !isString:
		if x.id, err = strconv.ParseUint(string(value), 10, 64); err != nil {
			x.id = 0
			x.note(errors.New("its ID is no positive number"))
		}
		*hasID = true
	case member == "simulated" && !isString:
		x.simulated = string(value) == "true"
	default:
		x.note(fmt.Errorf("its %s is of the wrong kind", member))
	}
	return nil
}

// note stores the first thing that is wrong.
func (x *decision) note(err error) {
	if x.wrong == nil {
		x.wrong = err
	}
}

// intern returns the string of the given bytes, once for all decisions.
func (d *decoder) intern(text []byte) string {
	if s, ok := d.strings[string(text)]; ok {
		return s
	}
	if len(d.strings) == maxStrings {
		clear(d.strings)
	}
	s := string(text)
	d.strings[s] = s
	return s
}
