package testenv

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestChromium(t *testing.T) {
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/text" {
			_, _ = io.WriteString(w, "what was fetched")
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<p id="p">nothing</p><script>
			fetch("/text").then(r => r.text()).then(t => setTimeout(() => { document.getElementById("p").textContent = t }, 1000))
		</script>`)
	}))
	defer pages.Close()
	if dom := Chromium(t, pages.URL); !strings.Contains(dom, `<p id="p">what was fetched</p>`) {
		t.Errorf("the page became %s", dom)
	}
}
