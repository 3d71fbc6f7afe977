package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// AskAll is Ask about several addresses: it sends one request, decodes the JSON of its answer into a T, and has
// report put what it says about each address into an Answers. See reputation.Batcher for the addresses and errors.
// What report returns concerns all addresses; an error of one of them goes into the Answers. Request.Unknown cannot be
// used: a status is no answer about every one of them.
//
// T is mostly Entries or Members, so that an entry of another type spoils no other.
func AskAll[T any](
	ctx context.Context, e *Endpoint, key string, addrs []netip.Addr, r Request,
	report func(*T, *Response, *Answers) error,
) ([]reputation.Answer, error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	answers := newAnswers(addrs)
	err := exchange(ctx, e, question{key, addrs}, &r, func(value *T, a *Response) error {
		return report(value, a, answers)
	})
	if errors.Is(err, reputation.ErrUnknown) {
		err = fmt.Errorf("%w: it is about no address", reputation.ErrBadAnswer)
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", e.api.Title, err)
	}
	for i := range answers.list {
		if a := &answers.list[i]; a.Err != nil {
			*a = reputation.Answer{Err: fmt.Errorf("asking %s: %w", e.api.Title, a.Err)}
		}
	}
	return answers.list, nil
}

// Answers are the answers about the addresses that AskAll asks about. An address that Set never gets
// has the error that it is missing.
type Answers struct {
	list  []reputation.Answer
	index map[netip.Addr]int
	set   []bool
}

// The errors of single addresses.
var (
	errMissing = fmt.Errorf("%w: it leaves out the address", reputation.ErrBadAnswer)
	errTwice   = fmt.Errorf("%w: it has the address twice", reputation.ErrBadAnswer)
)

func newAnswers(addrs []netip.Addr) *Answers {
	a := &Answers{
		list: make([]reputation.Answer, len(addrs)), index: make(map[netip.Addr]int, len(addrs)),
		set: make([]bool, len(addrs)),
	}
	for i, addr := range addrs {
		a.list[i].Err = errMissing
		a.index[addr] = i
	}
	return a
}

// Set stores what the service says about the address that an entry of its answer names, in any spelling: a report or
// an error, as Check would return them. What is not an address, or one that nobody asked about, is ignored. Of an
// address that is set twice, neither answer is used.
func (a *Answers) Set(addr string, r reputation.Report, err error) {
	parsed, invalid := netip.ParseAddr(addr)
	i, asked := a.index[parsed.Unmap()]
	switch {
	case invalid != nil || !asked:
		return
	case a.set[i]:
		r, err = reputation.Report{}, errTwice
	}
	a.set[i] = true
	a.list[i] = reputation.Answer{Report: r, Err: err}
}

// Entry is a part of an answer that may be of another type than T without harm to the others: Err says so then, and
// wraps reputation.ErrBadAnswer. Value has what could be read, such as the address that it is about.
type Entry[T any] struct {
	Value T
	Err   error
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Entry[T]) UnmarshalJSON(text []byte) error {
	*e = Entry[T]{}
	e.Err = Decode(text, &e.Value)
	return nil
}

// Into stores what the entry says about the address with the given name, or that it is of another
// type. It returns false if the name is no address. The report is asked for with the address, in the
// form of Query.Addr.
func (e *Entry[T]) Into(
	each *Answers, name string, report func(*T, netip.Addr) (reputation.Report, error),
) bool {
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	if e.Err != nil {
		each.Set(name, reputation.Report{}, e.Err)
		return true
	}
	r, err := report(&e.Value, addr.Unmap())
	each.Set(name, r, err)
	return true
}

// maxEntries bounds the entries of an answer: as many as addresses in the largest question, and some members about the
// answer itself. An empty entry has two bytes, and may take hundreds in memory.
const maxEntries = reputation.MaxBatch + 100

var errEntries = errors.New("too many entries")

// Entries is a list with an entry for each address.
type Entries[T any] []Entry[T]

// UnmarshalJSON implements json.Unmarshaler.
func (e *Entries[T]) UnmarshalJSON(text []byte) error {
	*e = nil
	if string(text) == "null" {
		return nil
	}
	return elements(text, '[', func(d *json.Decoder) error {
		var one Entry[T]
		err := d.Decode(&one)
		*e = append(*e, one)
		return err //nolint:wrapcheck // Decode quotes none of it
	})
}

// Members are the members of a JSON object, such as one with an entry for each address. Unlike a map, they keep a name
// that occurs twice.
type Members[T any] []Member[T]

// Member is a member of a JSON object.
type Member[T any] struct {
	Name string
	Entry[T]
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Members[T]) UnmarshalJSON(text []byte) error {
	*m = nil
	return elements(text, '{', func(d *json.Decoder) error {
		var one Member[T]
		name, err := d.Token()
		if err == nil {
			err = d.Decode(&one.Entry)
		}
		one.Name, _ = name.(string)
		*m = append(*m, one)
		return err //nolint:wrapcheck // Decode quotes none of it
	})
}

// elements has read decode each element of a list, or each member of an object, which begins with open.
func elements(text []byte, open json.Delim, read func(*json.Decoder) error) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if start, err := d.Token(); err != nil || start != open {
		return errors.New("neither a list nor an object")
	}
	for n := 0; d.More(); n++ {
		if n == maxEntries {
			return errEntries
		}
		if err := read(d); err != nil {
			return err
		}
	}
	return nil
}

// maxBody returns the size of the largest answer.
func (a *Response) maxBody() int64 {
	one := a.endpoint.api.MaxBody
	return max(min(one*int64(len(a.question.addrs)), maxBatchBody), one)
}
