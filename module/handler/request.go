package handler

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// RequestConditions are what a rule asks of the request itself, besides what it asks of the client. A condition that is
// left out always holds.
type RequestConditions struct {
	// Paths, of which the request must have one, as in Caddy's matcher `path`. Case does not matter. `/api/*` holds for
	// what begins so, `*.php` for what ends so, `*/admin/*` for what contains it; in the middle, `*` stands for anything
	// but a slash. The directive comes before `rewrite` and `uri`, so it is the path as the client has sent it; inside
	// `handle_path` the prefix is gone. Default: any.
	Path []string `json:"path,omitempty"`

	// Methods, of which the request must have one, as in Caddy's matcher `method`. `GET` does not hold for `HEAD`.
	// Default: any.
	Method []string `json:"method,omitempty"`

	// Fields of the request's header, with the values of which each must have one, as in Caddy's matcher `header`: `*`
	// stands at the beginning or the end of a value for anything, alone for any value. Case matters. `null` in place of the
	// values holds where the request lacks the field. Write secrets as placeholders, such as `{env.MONITOR_TOKEN}`: a
	// rule's text is logged. Default: any.
	Header map[string][]string `json:"header,omitempty"`
}

// ruleWords are the words that begin a condition of a rule.
const ruleWords = conditionWords + ", path, method, header"

// AddCondition adds the condition that word names. It has one value, in which commas separate several. Only `path` may
// have more, and `header` has a field and a value.
func (r *Rule) AddCondition(word string, values []string) error {
	var add func(word string, values []string) error
	switch word {
	case "path":
		add = valuesTo(&r.Path)
	case "method":
		add = valuesTo(&r.Method)
	case "header":
		add = r.addHeader
	default:
		if r.setterOf(word) == nil {
			return fmt.Errorf("unknown condition %q: use one of %s", word, ruleWords)
		}
		return r.Add(word, strings.Join(values, ","))
	}
	if len(values) == 0 {
		return fmt.Errorf("condition %q needs a value", word)
	}
	if err := add(word, values); err != nil {
		return err
	}
	_, err := r.compileRequest()
	return err
}

// SplitValues returns the values of a condition, which are written with spaces or commas between them.
func SplitValues(word string, written []string) (values []string, err error) {
	for _, text := range written {
		values = append(values, strings.Split(text, ",")...)
	}
	if slices.Contains(values, "") {
		return nil, fmt.Errorf("condition %s %q has an empty value: write commas or spaces between two values, and not both",
			word, strings.Join(written, " "))
	}
	return values, nil
}

// valuesTo sets a list, which must not be set yet, to the values of a condition.
func valuesTo(list *[]string) func(word string, values []string) error {
	return func(word string, values []string) (err error) {
		if *list != nil {
			return fmt.Errorf("condition %q is given twice: write all values behind one %[1]s", word)
		}
		*list, err = SplitValues(word, values)
		return err
	}
}

// addHeader adds a field and a value, or a field that must be missing, as in `!X-Forwarded-For`.
func (c *RequestConditions) addHeader(_ string, field []string) error {
	name, missing := strings.CutPrefix(field[0], "!")
	values, given := c.Header[name]
	switch {
	case given && (missing || values == nil):
		return fmt.Errorf("header %s cannot have a value and be missing: remove one of the two", name)
	case !missing && len(field) == 1:
		return fmt.Errorf("header %s needs a value, such as * for any: for a request without the field, write header !%[1]s", name)
	}
	if c.Header == nil {
		c.Header = map[string][]string{}
	}
	c.Header[name] = append(values, field[1:]...)
	return nil
}

func (c *RequestConditions) asksRequest() bool { return len(c.Path)+len(c.Method)+len(c.Header) > 0 }

// requestMatcher is compiled conditions. The zero value holds for every request.
type requestMatcher struct {
	path   *paths // nil for any
	method caddyhttp.MatchMethod
	header caddyhttp.MatchHeader
}

// asks reports whether there is a condition.
func (m *requestMatcher) asks() bool { return m.path != nil || len(m.method)+len(m.header) > 0 }

// compileRequest checks the conditions, and compiles them. It leaves them as they are written.
func (c *RequestConditions) compileRequest() (requestMatcher, error) {
	if err := checkPaths("path", c.Path); err != nil {
		return requestMatcher{}, err
	}
	if i := slices.IndexFunc(c.Path, isEveryPath); i >= 0 {
		return requestMatcher{}, fmt.Errorf("path %q holds for every request: remove the condition", c.Path[i])
	}
	if err := checkMethods(c.Method); err != nil {
		return requestMatcher{}, err
	}
	header, err := compileHeader(c.Header)
	if err != nil {
		return requestMatcher{}, err
	}
	m := requestMatcher{path: newPaths(c.Path), method: slices.Clone(c.Method), header: header}
	return m, m.method.Provision(caddy.Context{}) // makes them upper case
}

func writtenTwice(condition, value string) error {
	return fmt.Errorf("%s %q is written twice: remove one", condition, value)
}

// methods are those that are registered (RFC 9110, section 16.1), PURGE of caches, and two that scanners send.
const methods = " ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY " +
	"MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT QUERY " +
	"REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL " +
	"PURGE DEBUG TRACK "

// checkMethods refuses a misspelling, which would silently never match, and a method that is written twice.
func checkMethods(words []string) error {
	for i, word := range words {
		switch {
		case word == "" || strings.Contains(word, " ") || !strings.Contains(methods, " "+strings.ToUpper(word)+" "):
			return fmt.Errorf("method %q is none of HTTP: write one such as POST, or several as in POST,PUT", word)
		case slices.ContainsFunc(words[:i], func(other string) bool { return strings.EqualFold(other, word) }):
			return writtenTwice("method", word)
		}
	}
	return nil
}

// compileHeader checks the fields and their values. The case of a field's name does not matter.
func compileHeader(fields map[string][]string) (caddyhttp.MatchHeader, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	compiled := caddyhttp.MatchHeader{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := checkField(name, fields[name]); err != nil {
			return nil, err
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		_, given := compiled[key]
		switch {
		case isOurs(key):
			return nil, fmt.Errorf("header %s: what clients send under this name is removed before rules are tried; "+
				"write a condition such as score 85", name)
		case given:
			return nil, writtenTwice("header", name)
		}
		compiled[key] = fields[name]
	}
	return compiled, nil
}

// checkField reports what is wrong with a field of a header and the values that it may have.
func checkField(name string, values []string) error {
	if !isToken(name) {
		return fmt.Errorf("header %q is not the name of a field: write one such as Sec-Fetch-Site", name)
	}
	for i, value := range values {
		switch {
		case strings.ContainsFunc(value, isControl):
			return fmt.Errorf("header %s never holds, because its value has a control character: remove it", name)
		case slices.Contains(values[:i], value):
			return fmt.Errorf("header %s has a value twice: remove one", name)
		}
	}
	return nil
}

// resolve replaces placeholders such as `{env.MONITOR_TOKEN}` in the values of header fields once, for all requests.
// Those about the request itself stay. A placeholder without a value is an error: it would match a field that is empty.
func (m *requestMatcher) resolve() error {
	repl := caddy.NewReplacer()
	for name, values := range m.header {
		resolved := slices.Clone(values)
		for i, value := range values {
			var err error
			if resolved[i], err = repl.ReplaceOrErr(value, true, false); err != nil {
				return fmt.Errorf("header %s: %w: set it, or remove the condition", name, err)
			}
		}
		m.header[name] = resolved
	}
	return nil
}

// isToken reports whether a text can be the name of a field (RFC 9110, section 5.6.2).
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// holds reports whether all conditions hold for a request.
func (m *requestMatcher) holds(r *http.Request) bool {
	return (len(m.method) == 0 || m.method.Match(r)) && (m.path == nil || m.path.match(r, cleaned(r))) &&
		(len(m.header) == 0 || m.header.Match(r))
}

// hidden are the fields whose values Caddy does not log either.
var hidden = []string{"Authorization", "Cookie", "Proxy-Authorization", "Set-Cookie"}

// words returns the conditions as a Caddyfile has them.
func (c *RequestConditions) words() (words []string) {
	if len(c.Method) > 0 {
		words = append(words, "method", strings.Join(c.Method, ","))
	}
	if len(c.Path) > 0 {
		words = append(words, "path", strings.Join(c.Path, ","))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Header)) {
		if c.Header[name] == nil {
			words = append(words, "header", "!"+name)
			continue
		}
		for _, value := range c.Header[name] {
			if slices.Contains(hidden, textproto.CanonicalMIMEHeaderKey(name)) {
				value = "REDACTED"
			}
			if strings.ContainsAny(value, " \t") {
				value = `"` + value + `"`
			}
			words = append(words, "header", name, value)
		}
	}
	return words
}
