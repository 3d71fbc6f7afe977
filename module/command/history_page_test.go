package command

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// TestHistoryShowsIncidents is what an operator sees of violations, bans and reports, and reads in docs/history.md.
func TestHistoryShowsIncidents(t *testing.T) {
	address := netip.MustParsePrefix("203.0.113.7/32")
	at := func(second int) time.Time { return time.Date(2026, 11, 26, 11, 58, second, 0, time.UTC) }
	entry := func(second int, i history.Incident) history.Entry {
		i.Address = address
		return history.Entry{At: at(second), Incident: &i}
	}
	a := adminapi.Timeline{Timeline: history.Timeline{Prefix: address, Entries: []history.Entry{
		entry(9, history.Incident{
			Kind: history.KindReport, Name: "abuseipdb", Count: 1, Categories: []string{"scanner"}, Result: "sent", RequestID: "0af76519",
		}),
		entry(3, history.Incident{
			Kind: history.KindBan, Name: "violation trap", Host: "app.example.com", Count: 1, Seconds: 86400, RequestID: "0af76519",
		}),
		entry(3, history.Incident{
			Kind: history.KindViolation, Name: "trap", Host: "app.example.com", Count: 1, Points: 60, RequestID: "0af76519",
		}),
		entry(1, history.Incident{Kind: history.KindViolation, Name: "not_found", Count: 24, Points: 2}),
	}}}
	var out bytes.Buffer
	p := newPage(&out, 0)
	historyView{width: 80}.timeline(p, a)
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(strings.TrimSpace(out.String()), "TIME (UTC)")
	manual, err := os.ReadFile("../../docs/history.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(manual), rows) || strings.Count(rows, "\n") != 4 {
		t.Errorf("docs/history.md has not\n%s", rows)
	}
}
