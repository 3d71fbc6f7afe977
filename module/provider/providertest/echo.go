package providertest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// echoChecks are about services that echo parts of the request, as error pages do.
// None of them may be in an error.
func (s *suite) echoChecks() []check {
	var list []check
	for _, status := range []int{200, 302, 400, 401, 402, 403, 404, 422, 429, 500, 503} {
		list = append(list, check{fmt.Sprintf("echo/%d", status), func(tb testing.TB) error {
			for _, secret := range s.secrets() {
				if err := s.echo(tb, status, secret); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return append(list, check{"echo/no HTTP", func(tb testing.TB) error {
		for _, secret := range s.secrets() {
			t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
				hangUp(w, secret(r)+"\r\n\r\n")
			})
			o, err := t.ask(tb.Context(), s.sample.Addr)
			if err := errors.Join(err, o.want(reputation.ResultError, reputation.ResultBadAnswer)); err != nil {
				return err
			}
		}
		return nil
	}})
}

// secrets returns the texts to echo. Each is tested alone, since a provider may
// drop a text because of one secret only. The padding makes sure that a provider
// that shortens texts cuts the key in its middle.
func (s *suite) secrets() []func(r *http.Request) string {
	fixed := func(text string) func(*http.Request) string {
		return func(*http.Request) string { return text }
	}
	return []func(r *http.Request) string{
		fixed("invalid key " + testKey),
		fixed("invalid credentials " + base64.StdEncoding.EncodeToString([]byte(s.testKey()))),
		fixed(strings.Repeat("x", 80) + testKey),
		fixed(strings.Repeat("x", 180) + testKey),
		fixed(strings.Repeat("x", 236) + testKey),
		fixed("no such address: " + s.sample.Addr.String()),
		fixed("no such address: " + s.sample.Addr.StringExpanded()),
		fixed("no such page: /" + percentEncoded(testKey)),
		fixed("no such page: /?ip=" + url.QueryEscape(s.sample.Addr.StringExpanded())),
		func(r *http.Request) string { return "no such page: " + r.URL.Path },
		func(r *http.Request) string { return "no such page: http://" + r.Host + r.URL.RequestURI() },
	}
}

func (s *suite) echo(tb testing.TB, status int, secret func(*http.Request) string) error {
	t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
		text := secret(r)
		// the usual members for errors
		body, _ := json.Marshal(map[string]any{
			"error": text, "message": text, "detail": text, "title": text, "status": text,
			"errors": []any{map[string]any{"detail": text, "source": map[string]any{"parameter": text}}},
		})
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", "http://[::"+text) // not a URL: clients quote it in their error
		w.Header().Set("Retry-After", text)
		w.WriteHeader(status)
		_, _ = w.Write(body)
	})
	o, err := t.ask(tb.Context(), s.sample.Addr)
	if o.err == nil {
		err = errors.Join(err, errors.New("an answer that only repeats the question was taken for a report"))
	}
	return errors.Join(err, t.wantRequests(1))
}
