package conduct

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// incidentStore keeps the incidents that it is given.
type incidentStore struct {
	mu        sync.Mutex
	incidents []history.Incident
}

// Write implements history.Store.
func (s *incidentStore) Write(_ context.Context, b *history.Batch) (history.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.incidents = append(s.incidents, b.Incidents...)
	return history.Stored{Entries: int64(len(b.Incidents))}, nil
}

// TestIncidentsAreStored holds what the history has of a violation, a ban and a report, and that privacy holds for it.
func TestIncidentsAreStored(t *testing.T) {
	policy, err := privacy.Truncate(24, 48)
	if err != nil {
		t.Fatal(err)
	}
	var log logtest.Log
	var s incidentStore
	c := &Conduct{Digest: "0123456789abcdef", Recorder: recorder.Open(recorder.Options{Logger: log.Logger()})}
	c.Recorder.Use(recorder.Settings{Store: &s, Stored: policy.Stored})
	c.Recorder.Start()
	client := netip.MustParseAddr("203.0.113.7")
	c.recordViolation(&Offence{
		Violation: "trap", Client: client, At: time.Now(), Site: "a.example.com", Path: "/.env", RequestID: "one",
	}, &violation.Terms{Name: "trap"}, violation.Result{Counted: true, Points: 60})
	c.recordBan(&ban.Punished{
		Sentence: ban.Sentence{Client: client, First: 15 * time.Minute, Most: 24 * time.Hour},
		Entry:    ban.Entry{Cause: ban.Cause{Rule: "violation trap", Site: "a.example.com", RequestID: "one", Times: 2}},
	})
	c.recordReport(client, "abuseipdb", []string{"scanner"}, "sent", "one")
	if err := c.Recorder.Close(); err != nil {
		t.Fatal(err)
	}
	(*Conduct)(nil).recordBan(new(ban.Punished))
	(&Conduct{}).recordReport(client, "abuseipdb", nil, "sent", "") // without history
	var got []string
	for _, i := range s.incidents {
		got = append(got, strings.Join([]string{i.Address.String(), i.Kind, i.Name, i.RequestID, i.Config}, " "))
	}
	want := `203.0.113.0/24 violation trap one 0123456789ab
203.0.113.0/24 ban violation trap one 0123456789ab
203.0.113.0/24 report abuseipdb one 0123456789ab`
	if strings.Join(got, "\n") != want {
		t.Errorf("stored is %s", strings.Join(got, "\n"))
	}
	if i := s.incidents; i[0].Points != 60 || i[1].Seconds != 1800 || i[2].Result != "sent" || i[2].Categories[0] != "scanner" {
		t.Errorf("stored is %+v", i)
	}
}
