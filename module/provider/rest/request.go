package rest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Request is one question, relative to the address of the API. Any part of it may contain the key.
type Request struct {
	// Path are the path elements after the API's address. They are escaped. With an empty last
	// element the path ends in a slash.
	Path []string

	// Params is the query.
	Params url.Values

	// Header are header fields. Fields without a value are not sent, so that a key may be missing.
	// Accept is "application/json" unless it is set here.
	Header map[string]string

	// Basic is sent as HTTP Basic authentication: a user and a password with a colon between them.
	// The key of such a service has this form. Default: none.
	Basic string

	// JSON, if set, is sent as the body of a POST. Without it and Form, the request is a GET.
	JSON any

	// Form, if set, is sent as the body of a POST, in the way of an HTML form.
	Form url.Values

	// Answers are the statuses besides 200 whose body is an answer, such as a 404 that names the
	// address. Use them if the service's own 404 differs from that of a proxy. Default: none.
	Answers []int

	// Unknown are the statuses that mean reputation.ErrUnknown with
	// any body, such as a bare 404. Default: none.
	Unknown []int

	// Failure, if set, returns what an answer means that has another status than these, or nil for what the status
	// usually means. It must quote the body through Response.Quote only.
	Failure func(a *Response, body []byte) error
}

// Bearer returns the value of an Authorization field for a key, or "" without a key.
func Bearer(key string) string {
	if key == "" {
		return ""
	}
	return "Bearer " + key
}

// Target returns the URL of a request, for tests. It may contain the key and the visitor's address.
// An endpoint that is not open has none.
func (e *Endpoint) Target(r *Request) (*url.URL, error) {
	if e.base == nil {
		return nil, errNotOpen
	}
	path := strings.TrimRight(e.base.EscapedPath(), "/")
	for i, element := range r.Path {
		if element == "." || element == ".." || element == "" && i < len(r.Path)-1 {
			return nil, errors.New("an element of the path is empty or made of dots")
		}
		path += "/" + url.PathEscape(element)
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, errors.New("the path cannot be written as a URL")
	}
	u := *e.base
	u.Path, u.RawPath, u.RawQuery = plain, path, r.Params.Encode()
	return &u, nil
}

var errNotOpen = errors.New("the endpoint is not open: call Open in Provision")

// request returns the request to send. Its errors do not quote it.
func (e *Endpoint) request(ctx context.Context, r *Request) (*http.Request, error) {
	u, err := e.Target(r)
	if err != nil {
		return nil, err
	}
	method, body, contentType := http.MethodGet, io.Reader(nil), ""
	switch {
	case r.JSON != nil:
		text, err := json.Marshal(r.JSON)
		if err != nil {
			return nil, errors.New("the body cannot be written as JSON")
		}
		method, body, contentType = http.MethodPost, bytes.NewReader(text), "application/json"
	case r.Form != nil:
		method, body, contentType = http.MethodPost, strings.NewReader(r.Form.Encode()), "application/x-www-form-urlencoded"
	}
	req, err := http.NewRequestWithContext(ctx, method, e.base.Scheme+"://"+e.base.Host, body)
	if err != nil {
		return nil, errors.New("the request cannot be written")
	}
	req.URL = u
	// Without Accept, some services answer errors with an HTML page.
	req.Header = http.Header{"Accept": {"application/json"}, "User-Agent": {userAgent}}
	if contentType != "" {
		req.Header["Content-Type"] = []string{contentType}
	}
	for name, value := range r.Header {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if r.Basic != "" {
		req.Header["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(r.Basic))}
	}
	return req, nil
}

// checkKey returns an error for a key that no service would accept, so that no request is made.
func (e *Endpoint) checkKey(key string, r *Request) error {
	user, password, _ := strings.Cut(r.Basic, ":")
	switch {
	case key == "" && e.api.Profile.Key == reputation.KeyRequired:
		return fmt.Errorf("%w: there is none, set the key option", reputation.ErrRefused)
	case strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }):
		return fmt.Errorf("%w: it holds characters that no key has, such as a line break",
			reputation.ErrRefused)
	case r.Basic != "" && (user == "" || password == ""):
		return fmt.Errorf("%w: it has one part, write the account and the key with a colon between them",
			reputation.ErrRefused)
	}
	return nil
}
