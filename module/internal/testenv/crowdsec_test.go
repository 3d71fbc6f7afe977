package testenv

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestCrowdSec(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := CrowdSec(t)
	took(t, start)
	key := s.AddBouncer("tests")
	s.Cscli("decisions", "add", "--ip", "198.51.100.7", "--duration", "1h")
	ask := func(key string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v1/decisions?ip=198.51.100.7", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", key)
		resp, err := monitorClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var text strings.Builder
		if err := resp.Write(&text); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, text.String()
	}
	if code, text := ask(key); code != http.StatusOK || !strings.Contains(text, `"198.51.100.7"`) {
		t.Errorf("status %d: %s", code, text)
	}
	if code, _ := ask("another"); code != http.StatusForbidden {
		t.Errorf("status %d for a key that it does not know", code)
	}
	s.Stop()
	s.Stop()
	s.Start()
	if code, text := ask(key); code != http.StatusOK || !strings.Contains(text, `"198.51.100.7"`) {
		t.Errorf("after a restart: status %d: %s", code, text)
	}
}
