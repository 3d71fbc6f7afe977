package feed

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// TestAuthorize proves that each fetch has the secrets of the moment, that none is made without them, and that what a server
// says of them is not repeated.
func TestAuthorize(t *testing.T) {
	const first, second = "secret-of-monday", "secret-of-tuesday"
	wanted := first
	answer := func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+wanted {
			http.Error(w, "not with "+got, http.StatusForbidden)
			return
		}
		text(addresses(20)+"\n"+wanted+"\n")(w, r)
	}
	server, url := serve(t, answer)
	key, missing := first, error(nil)
	s := mustOpen(t, Options{}, Spec{
		Name: "one", URLs: []string{url}, Header: http.Header{"Authorization": {"Bearer {key}"}},
		Authorize: func(_ context.Context, h http.Header) (http.Header, error) {
			h.Set("Authorization", strings.Replace(h.Get("Authorization"), "{key}", key, 1))
			return h, missing
		},
	})
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	if said := statusOf(t, s, "one").FirstIgnored; said == "" || strings.Contains(said, first) {
		t.Errorf("of a line that quotes the secret is said: %v", said)
	}
	wanted = second
	if err := fetchNow(s, "one"); err == nil || strings.Contains(err.Error(), first) {
		t.Errorf("with a secret that has ended: %v", err)
	}
	if got := statusOf(t, s, "one").LastResult; got != ResultKeyRefused.String() {
		t.Errorf("the result of a refused key is %s", got)
	}
	key = second
	if err := fetchNow(s, "one"); err != nil {
		t.Errorf("with the new secret: %v", err)
	}
	asked := len(server.seen())
	missing = errors.New("header Authorization: no key has come")
	if err := fetchNow(s, "one"); err == nil || !strings.Contains(err.Error(), "no key has come") || len(server.seen()) != asked {
		t.Errorf("without a secret: %v, %d requests", err, len(server.seen())-asked)
	}
}
