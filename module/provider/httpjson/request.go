package httpjson

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// target is the url option, taken apart. Placeholders are escaped where they stand.
type target struct {
	origin template   // the scheme, the host and the port
	static []template // the elements of the path before the first that differs from call to call
	path   []template // the others
	params []param
}

type param struct {
	name  string
	value template
}

// parseTarget reads the url option. Errors do not repeat it, since it may hold a secret.
func parseTarget(source string) (*target, error) {
	if source == "" {
		return nil, errors.New("no url is given: write one such as https://api.example.com/v1/ip/{ip}")
	}
	if strings.ContainsFunc(source, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, errors.New("the url has a character that no URL has: write it as %20 and the like")
	}
	whole, err := parseTemplate(source)
	if err != nil {
		return nil, fmt.Errorf("the url: %w", err)
	}
	if _, _, found := whole.cut("#"); found {
		return nil, errors.New("the url has a '#': end it before that, or write it as %23")
	}
	head, query, hasQuery := whole.cut("?")
	scheme, rest, hasScheme := head.cut("://")
	if !hasScheme {
		scheme, rest = nil, head
	}
	origin, path, hasPath := rest.cut("/")
	t := &target{origin: append(slices.Clone(scheme), origin...)}
	if hasScheme {
		t.origin = slices.Concat(scheme, literal("://"), origin)
	}
	switch {
	case t.origin.perCall():
		return nil, errors.New("the url has {ip} or {key} in its host: write them in the path or behind '?'")
	case !hasScheme && (len(origin) == 0 || !origin[0].mark), hasScheme && !isWeb(scheme):
		return nil, errors.New("the url must begin with https://, or with a placeholder that does")
	}
	if hasPath {
		if err := t.elements(path.split("/")); err != nil {
			return nil, fmt.Errorf("the path of the url: %w", err)
		}
	}
	if hasQuery && len(query) > 0 {
		if err := t.query(query.split("&")); err != nil {
			return nil, fmt.Errorf("the query of the url: %w", err)
		}
	}
	return t, nil
}

func isWeb(scheme template) bool {
	return len(scheme) == 1 && (scheme[0] == part{text: "https"} || scheme[0] == part{text: "http"})
}

// elements reads the elements of the path.
func (t *target) elements(list []template) error {
	for i, element := range list {
		e, err := element.decode(url.PathUnescape)
		last, plain := i == len(list)-1, ""
		if len(e) == 1 && !e[0].mark {
			plain = e[0].text
		}
		switch {
		case err != nil:
			return err
		case len(e) == 0 && !last, plain == ".", plain == "..":
			return errors.New("it has an element that is empty or made of dots: remove it")
		case len(t.path) == 0 && len(e) > 0 && !e.perCall():
			t.static = append(t.static, e)
		default:
			t.path = append(t.path, e)
		}
	}
	return nil
}

// query reads the parameters.
func (t *target) query(list []template) error {
	for _, pair := range list {
		name, value, _ := pair.cut("=")
		name, err := name.decode(url.QueryUnescape)
		if err != nil {
			return err
		}
		if len(name) != 1 || name[0].mark {
			return errors.New("it has a parameter without a name, or with a placeholder in its name")
		}
		if value, err = value.decode(url.QueryUnescape); err != nil {
			return err
		}
		t.params = append(t.params, param{name[0].text, value})
	}
	return nil
}

// base returns the address of the API: what all requests have in common.
func (t *target) base(repl *caddy.Replacer) (*url.URL, error) {
	origin, err := t.origin.resolve(repl)
	if err != nil {
		return nil, fmt.Errorf("the url: %w", err)
	}
	base, err := url.Parse(strings.TrimRight(origin.fill(reputation.Query{}), "/"))
	if err != nil || base.Hostname() == "" || base.Scheme != "https" && base.Scheme != "http" ||
		base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the url does not begin with the address of a host, such as https://api.example.com")
	}
	for _, element := range t.static {
		e, err := element.resolve(repl)
		if err != nil {
			return nil, fmt.Errorf("the url: %w", err)
		}
		plain := e.fill(reputation.Query{})
		base.RawPath = base.EscapedPath() + "/" + url.PathEscape(plain)
		base.Path += "/" + plain
	}
	return base, nil
}

// checkOrigin checks the host, unless it is in a placeholder.
func (t *target) checkOrigin(clearText bool) error {
	if slices.ContainsFunc(t.origin, func(p part) bool { return p.mark }) {
		return nil
	}
	base, err := (&target{origin: t.origin}).base(nil)
	if err != nil {
		return err
	}
	return checkEncrypted(base, clearText)
}

// checkEncrypted returns an error for an address to which requests would go without encryption, unless the operator
// has allowed it.
func checkEncrypted(base *url.URL, allowed bool) error {
	if allowed || rest.Confidential(base) {
		return nil
	}
	return errors.New("the url begins with http://, so that everybody on the way can read who visits you, " +
		"and change the answers: use https://, or write clear_text if you accept that")
}

// request is how a question is written. Its parts are parsed, and then resolved.
type request struct {
	target *target
	header map[string]template
	body   *document
	basic  bool
}

// parse reads the settings of the request.
func (h *HTTPJSON) parse() (*request, error) {
	r := &request{basic: h.BasicAuth}
	var err error
	if r.target, err = parseTarget(h.URL); err != nil {
		return nil, err
	}
	if r.header, err = parseHeader(h.Header); err != nil {
		return nil, err
	}
	if r.body, err = parseDocument(h.Body); err != nil {
		return nil, fmt.Errorf("the body: %w", err)
	}
	return r, nil
}

// resolve returns the request with the global placeholders replaced.
func (r *request) resolve(repl *caddy.Replacer) (*request, error) {
	out := &request{target: new(target), header: make(map[string]template, len(r.header)), basic: r.basic}
	for _, element := range r.target.path {
		e, err := element.resolve(repl)
		if err != nil {
			return nil, fmt.Errorf("the url: %w", err)
		}
		out.target.path = append(out.target.path, e)
	}
	for _, p := range r.target.params {
		value, err := p.value.resolve(repl)
		if err != nil {
			return nil, fmt.Errorf("the url: %w", err)
		}
		out.target.params = append(out.target.params, param{p.name, value})
	}
	for name, value := range r.header {
		v, err := value.resolve(repl)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		out.header[name] = v
	}
	var err error
	if out.body, err = r.body.resolve(repl); err != nil {
		return nil, fmt.Errorf("the body: %w", err)
	}
	return out, nil
}

// of returns the request for a question.
func (r *request) of(q reputation.Query) rest.Request {
	out := rest.Request{JSON: r.body.fill(q)}
	for _, element := range r.target.path {
		out.Path = append(out.Path, element.fill(q))
	}
	if len(r.target.params) > 0 {
		out.Params = make(url.Values, len(r.target.params))
	}
	for _, p := range r.target.params {
		out.Params.Add(p.name, p.value.fill(q))
	}
	if len(r.header) > 0 {
		out.Header = make(map[string]string, len(r.header))
	}
	for name, value := range r.header {
		out.Header[name] = value.fill(q)
	}
	if r.basic {
		out.Basic = q.Key
	}
	return out
}

// ownHeaders are those that the client writes itself.
var ownHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Host", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// parseHeader reads the header options. Errors do not repeat values.
func parseHeader(header map[string]string) (map[string]template, error) {
	all := make(map[string]template, len(header))
	for name, value := range header {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case name == "" || strings.ContainsFunc(name, notInName):
			return nil, fmt.Errorf("header %q is no name of a header field", name)
		case slices.Contains(ownHeaders, canonical):
			return nil, fmt.Errorf("header %s is set by the client itself: remove it", canonical)
		case strings.ContainsFunc(value, isControl):
			return nil, fmt.Errorf("header %s has a control character, such as a line break", canonical)
		}
		t, err := parseTemplate(value)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", canonical, err)
		}
		if _, twice := all[canonical]; twice {
			return nil, fmt.Errorf("header %s is given twice: remove one", canonical)
		}
		all[canonical] = t
	}
	return all, nil
}

func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
}
