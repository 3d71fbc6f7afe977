package handler

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// ViolationRule says which requests are a violation: all of its conditions must hold. Several rules may have the same
// name; a request counts once under each name, whichever rules hold.
//
// A rule without `status` and `header` is a trap: it counts before the request is answered, so that the request itself
// is judged with the points. A rule about missing pages, whose statuses are 404 or 410 alone, and one that names no path
// and no matcher count each path of a client once; others count each request.
//
// Nothing is counted that the site itself refused, and nothing against clients that are exempt, have a private
// address, are a verified bot, or whose address may be another's. A request that the page of another site has caused,
// as the browser says, is logged and costs nothing; see docs/violations.md.
type ViolationRule struct {
	// The violation: one of those that are there already, such as `trap`, or one of `violation` in the global options.
	// Required.
	Name string `json:"name,omitempty"`

	// Paths, as in Caddy's matcher `path`: `/login`, `/.git/*`, `*.sql`. Any of them. They are compared before handlers
	// such as `rewrite`, which come later, change the path. Default: any path.
	Path []string `json:"path,omitempty"`

	// Paths that are none, as above, such as those that browsers ask for by themselves. Default: none.
	NotPath []string `json:"not_path,omitempty"`

	// Methods, such as POST. Any of them. Default: any method.
	Method []string `json:"method,omitempty"`

	// Statuses of the response: `401`, or `4xx` for all from 400 to 499. Any of them. A refusal of this handler never
	// counts. Default: any status.
	Status []string `json:"status,omitempty"`

	// Fields of the response's header, with values as in Caddy's matcher `header`: a `*` at the beginning or the end
	// stands for anything. All of the fields, any of the values of each. Default: any header.
	Header http.Header `json:"header,omitempty"`

	// Further conditions on the request: sets of Caddy's request matchers. Any of the sets, all matchers of a set. In a
	// Caddyfile, the name of a matcher, such as `@mine`. Default: any request.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	oncePerPath bool // although it names paths
}

// SignedIn says how a request shows that its visitor has signed in. A visitor who makes many good requests, or is
// signed in, makes mistakes, too: what has a number of free ones, such as failed log-ins and missing pages, then costs
// a quarter. Traps cost the same. Anybody can send a cookie or a header, so that it weighs no more than that.
type SignedIn struct {
	// Cookies that visitors have who are signed in, by name. Any of them. Default: none.
	Cookie []string `json:"cookie,omitempty"`

	// Fields of the request's header that visitors send who are signed in, such as `Authorization`. Any of them.
	// Default: none.
	Header []string `json:"header,omitempty"`
}

// maxViolationRules is how many rules a site can have: each is a bit of a word.
const maxViolationRules = 64

// needed are the conditions of which each rule needs one.
const needed = "path, method, status, header or a named matcher"

// Check reports what is wrong with the rule. names are the violations that there are, nil if that is not known.
func (r *ViolationRule) Check(names []string) error {
	if r.Name == "" {
		return errors.New("violation needs a name, such as trap, and a condition, such as path /.env")
	}
	err := r.check(names)
	if err != nil {
		return fmt.Errorf("violation %s: %w", r.Name, err)
	}
	return nil
}

func (r *ViolationRule) check(names []string) error {
	if names != nil && !slices.Contains(names, r.Name) {
		return fmt.Errorf("no violation has this name: use one of %s, or define it in the global ip_reputation options",
			strings.Join(names, ", "))
	}
	if err := checkPaths("path", r.Path); err != nil {
		return err
	}
	if err := checkPaths("not_path", r.NotPath); err != nil {
		return err
	}
	if slices.ContainsFunc(r.NotPath, isEveryPath) {
		return errors.New("not_path leaves no path: remove it")
	}
	if path := covered(r.Path, r.NotPath); path != "" {
		return fmt.Errorf("path %s can never hold, since not_path excludes it: remove one of them", path)
	}
	if err := checkMethods(r.Method); err != nil {
		return err
	}
	if _, err := r.statuses(); err != nil {
		return err
	}
	if err := checkFields(r.Header); err != nil {
		return err
	}
	anyPath := len(r.Path) == 0 || slices.ContainsFunc(r.Path, isEveryPath)
	if anyPath && len(r.Method)+len(r.Status)+len(r.Header)+len(r.MatcherSetsRaw) == 0 {
		return fmt.Errorf("without a condition, every request would count: give it one of %s", needed)
	}
	if r.isTrap() {
		return checkTrap(r.Path)
	}
	return nil
}

// checkFields reports fields of a response that can never hold.
func checkFields(fields http.Header) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		values := fields[name]
		if err := checkField(name, values); err != nil {
			return err
		}
		switch {
		case isOurs(http.CanonicalHeaderKey(name)):
			return fmt.Errorf("header %s is set by this handler, not by the application: for what the application names, "+
				"write `violations from_application`", name)
		case len(values) == 0:
			return fmt.Errorf("header %s has no value: give one, or * for any", name)
		}
	}
	return nil
}

// checkTrap refuses traps where honest clients go without anybody's doing.
func checkTrap(patterns []string) error {
	for _, pattern := range patterns {
		if askedByThemselves.matchText(strings.ToLower(pattern)) {
			return fmt.Errorf("path %s: browsers, crawlers and certificate authorities ask for it by themselves, "+
				"so that honest visitors would be caught: remove it, or add a status", pattern)
		}
	}
	return nil
}

// isTrap reports whether the request alone decides.
func (r *ViolationRule) isTrap() bool { return len(r.Status)+len(r.Header) == 0 }

// isAboutMissingPages reports whether only missing pages count. A client that asks for one again, such as for an image of
// each page, has done nothing new.
func (r *ViolationRule) isAboutMissingPages() bool {
	isOther := func(status string) bool { return status != "404" && status != "410" }
	return len(r.Status) > 0 && !slices.ContainsFunc(r.Status, isOther)
}

// statuses returns the statuses as Caddy's response matcher has them: 4 for 400 to 499.
func (r *ViolationRule) statuses() (codes []int, err error) {
	for i, word := range r.Status {
		class, isClass := strings.CutSuffix(strings.ToLower(word), "xx")
		code, err := strconv.Atoi(class)
		switch {
		case err != nil || isClass && (code < 2 || code > 5) || !isClass && (code < 200 || code > 599):
			return nil, fmt.Errorf("status %q can never hold: use 200 to 599, or 2xx to 5xx", word)
		case slices.Contains(r.Status[:i], word):
			return nil, fmt.Errorf("status %s is given twice: remove one", word)
		}
		codes = append(codes, code)
	}
	return codes, nil
}

// CheckViolations reports what is wrong with the site's violations. names are those that there are, nil if that is not
// known.
func (h *Handler) CheckViolations(names []string) error {
	for i := range h.Violations {
		if err := h.Violations[i].Check(names); err != nil {
			return err
		}
	}
	if n := len(h.allViolations()); n > maxViolationRules {
		return fmt.Errorf("the site has %d rules of violations: use at most %d, with several paths each",
			n, maxViolationRules)
	}
	return nil
}

// CheckSignedIn reports what is wrong with SignedIn. The violations of the site must be known.
func (h *Handler) CheckSignedIn() error {
	if h.SignedIn == nil {
		return nil
	}
	names := slices.Concat(h.SignedIn.Cookie, h.SignedIn.Header)
	if len(names) == 0 || slices.Contains(names, "") {
		return errors.New("signed_in needs the name of a cookie or a header")
	}
	if len(h.allViolations()) == 0 {
		return errors.New("signed_in makes violations weigh less, and the site has none: add some, " +
			"such as `violations default`, or remove it")
	}
	return nil
}

// allViolations returns the rules of the site, those of the default set behind its own.
func (h *Handler) allViolations() []ViolationRule {
	if !h.ViolationsDefault {
		return h.Violations
	}
	return append(slices.Clone(h.Violations), defaultViolations()...)
}

// provisionViolations compiles the rules of the site, if it has any.
func (h *Handler) provisionViolations(ctx caddy.Context, rt *runtime.Runtime) error {
	if err := h.CheckViolations(rt.Conduct.ViolationNames()); err != nil {
		return err
	}
	if err := h.CheckSignedIn(); err != nil {
		return err
	}
	all := h.allViolations()
	if len(all) == 0 && !h.ViolationsFromApplication {
		return nil
	}
	watch := &watch{fromApplication: h.ViolationsFromApplication}
	if h.SignedIn != nil {
		watch.signedIn = *h.SignedIn
	}
	for i := range all {
		compiled, err := all[i].compile(ctx)
		if err != nil {
			return fmt.Errorf("violation %s: %w", all[i].Name, err)
		}
		if compiled.response == nil {
			watch.traps |= 1 << i
		}
		watch.rules = append(watch.rules, compiled)
	}
	h.watch = watch
	if h.ViolationsFromApplication {
		return rt.Conduct.UseViolations()
	}
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return rt.Conduct.UseViolations(names...)
}

// compile turns the rule into what is tested.
func (r *ViolationRule) compile(ctx caddy.Context) (c violationRule, err error) {
	c = violationRule{
		name: r.Name, path: newPaths(r.Path), notPath: newPaths(r.NotPath), method: slices.Clone(r.Method),
		oncePerPath: r.oncePerPath || r.isAboutMissingPages() || len(r.Path)+len(r.MatcherSetsRaw) == 0,
	}
	if err := c.method.Provision(ctx); err != nil { // makes them upper case
		return c, err
	}
	if c.match, err = loadMatchers(ctx, r, r.MatcherSetsRaw); err != nil {
		return c, err
	}
	if r.isTrap() {
		return c, nil
	}
	c.response = &caddyhttp.ResponseMatcher{Headers: r.Header}
	c.response.StatusCode, err = r.statuses()
	return c, err
}
