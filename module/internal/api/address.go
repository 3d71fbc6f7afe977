package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// MaxAddresses is the maximum number of addresses in one request.
	MaxAddresses = 100

	maxBody = 16 << 10

	// maxWait is how long a request waits for shared answers and, if it may ask them, for providers.
	maxWait = 2 * time.Second

	// Answers about addresses are private. A client may cache them if it revalidates.
	cacheAddress = "private, no-cache"
	cacheNone    = "no-store"
)

// address answers GET /v1/ip/{address}.
func (h *Handler) address(q *request) (response, error) {
	query, err := q.query("ask")
	if err != nil {
		return response{}, err
	}
	addr, err := parseAddress(q.argument)
	if err != nil {
		return response{}, badRequest(err.Error())
	}
	return h.answerOne(q, addr, query)
}

// me answers GET /v1/me.
func (h *Handler) me(q *request) (response, error) {
	query, err := q.query("ask")
	if err != nil {
		return response{}, err
	}
	if !q.client.IsValid() {
		return response{}, newProblem(http.StatusNotFound, "address_unknown",
			"the server does not know the address that the request comes from")
	}
	return h.answerOne(q, q.client, query)
}

// answerOne answers a request about one address.
func (h *Handler) answerOne(q *request, addr netip.Addr, query url.Values) (response, error) {
	ask, err := q.mayAsk(query)
	if err != nil {
		return response{}, err
	}
	ctx, cancel := context.WithTimeout(q.Context(), maxWait)
	defer cancel()
	var answer Answer
	if ask {
		answer = h.o.Backend.Ask(ctx, addr, maxWait)
	} else {
		answer = h.o.Backend.Known(ctx, addr)
	}
	res, err := jsonResponse(answer, cacheAddress)
	if err == nil {
		res.etag, err = answer.etag()
	}
	return res, err
}

// mayAsk reports whether a request asks for providers to be asked. It fails if the token lacks the
// scope.
func (q *request) mayAsk(query url.Values) (bool, error) {
	switch value := query.Get("ask"); {
	case !query.Has("ask") || value == "false":
		return false, nil
	case value == "" || value == "true":
		return true, q.requireScope(ScopeAsk)
	default:
		return false, badRequest("ask is true or false")
	}
}

// batch is the body of POST /v1/ip.
type batch struct {
	Addresses []string `json:"addresses"`
	Ask       bool     `json:"ask"`
}

// results is the answer of POST /v1/ip, in the order of the request.
type results struct {
	Results []any `json:"results"` // Answer or failure
}

// failure is the result for a text that is not an address.
type failure struct {
	Address string `json:"address"`
	Error   string `json:"error"`
}

// addresses answers POST /v1/ip.
func (h *Handler) addresses(q *request) (response, error) {
	if _, err := q.query(); err != nil {
		return response{}, err
	}
	b, err := q.batch()
	if err != nil {
		return response{}, err
	}
	if b.Ask {
		if err := q.requireScope(ScopeAsk); err != nil {
			return response{}, err
		}
	}
	if err := q.countAddresses(len(b.Addresses) - 1); err != nil { // authorize counted the first
		return response{}, err
	}
	ctx, cancel := context.WithTimeout(q.Context(), maxWait)
	defer cancel()
	return jsonResponse(results{h.answers(ctx, b)}, cacheNone)
}

// answers answers about several addresses. It asks the providers about all of them before it waits
// for any.
func (h *Handler) answers(ctx context.Context, b batch) []any {
	answers, pending := make([]any, len(b.Addresses)), make(map[int]netip.Addr)
	for i, text := range b.Addresses {
		addr, err := parseAddress(text)
		if err != nil {
			answers[i] = failure{shorten(text), err.Error()}
			continue
		}
		if !b.Ask {
			answers[i] = h.o.Backend.Known(ctx, addr)
			continue
		}
		answer := h.o.Backend.Ask(ctx, addr, 0)
		if answers[i] = answer; answer.Status == statusPending {
			pending[i] = addr
		}
	}
	deadline, _ := ctx.Deadline()
	for i := range answers {
		if addr, ok := pending[i]; ok {
			answers[i] = h.o.Backend.Ask(ctx, addr, max(time.Until(deadline), 0))
		}
	}
	return answers
}

// statusPending is the status of an address whose providers have not answered yet.
const statusPending = "pending"

// batch parses the body.
func (q *request) batch() (batch, error) {
	body, err := q.jsonBody(maxBody)
	if err != nil {
		return batch{}, err
	}
	var b batch
	if !decodeStrictly(body, &b) {
		return batch{}, badRequest(`the body must be one JSON object such as ` +
			`{"addresses": ["203.0.113.5"], "ask": false}, with no other members`)
	}
	switch limit := q.maxAddresses(); {
	case len(b.Addresses) == 0:
		return batch{}, badRequest("addresses is empty: name one or more")
	case len(b.Addresses) > limit:
		return batch{}, badRequest(
			fmt.Sprintf("%d addresses are too many: ask about up to %d in one request", len(b.Addresses), limit))
	}
	return b, nil
}

// jsonBody reads a body of JSON.
func (q *request) jsonBody(limit int64) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(q.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type",
			"the body must be JSON: send it with Content-Type: application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, q.Body, limit))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, newProblem(http.StatusRequestEntityTooLarge, "body_too_large",
				fmt.Sprintf("the body is larger than %d bytes: send it in several requests", limit))
		}
		return nil, badRequest("the body ends too soon")
	}
	return body, nil
}

// decodeStrictly decodes a single JSON value without unknown members, and reports whether body is one.
func decodeStrictly(body []byte, to any) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	return decoder.Decode(to) == nil && decoder.Decode(new(json.RawMessage)) == io.EOF
}

// maxAddresses is how many addresses the request may name.
func (q *request) maxAddresses() int {
	if q.token.MaxAddresses > 0 {
		return min(MaxAddresses, q.token.MaxAddresses)
	}
	return MaxAddresses
}

// query parses the query. Each of the given parameters may occur once; others are refused.
func (q *request) query(names ...string) (url.Values, error) {
	values, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query cannot be read: escape what is no letter or digit")
	}
	for name, list := range values {
		switch {
		case !slices.Contains(names, name) && len(names) == 0:
			return nil, badRequest(fmt.Sprintf("there is no parameter %q: this takes none", shorten(name)))
		case !slices.Contains(names, name):
			return nil, badRequest(fmt.Sprintf("there is no parameter %q: use %s", shorten(name), strings.Join(names, ", ")))
		case len(list) > 1:
			return nil, badRequest(fmt.Sprintf("parameter %s is given %d times: give it once", name, len(list)))
		}
	}
	return values, nil
}

// parseAddress parses an address. It unmaps IPv4-mapped IPv6 addresses.
func parseAddress(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IP address: write one such as 203.0.113.5 or 2001:db8::5", shorten(text))
	case addr.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone, which means something on one machine only: leave it out", shorten(text))
	}
	return addr.Unmap(), nil
}

// shorten truncates a client's text for an error message.
func shorten(text string) string {
	const limit = 64
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
