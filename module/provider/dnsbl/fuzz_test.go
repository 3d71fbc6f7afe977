package dnsbl

import (
	"testing"

	"github.com/miekg/dns"
)

// FuzzAnswer feeds messages to what reads answers: whatever comes, a listing has codes in 127.0.0.0/8 that refuse
// nothing, and a report is within its ranges and what the list says that it can hold.
func FuzzAnswer(f *testing.F) {
	question := new(dns.Msg)
	question.SetQuestion("10.113.0.203.zen.spamhaus.org.", dns.TypeA)
	question.Id = 7
	for _, answer := range []*dns.Msg{
		addresses(new(dns.Msg).SetReply(question), 900, "127.0.0.2", "127.0.0.10"),
		addresses(new(dns.Msg).SetReply(question), 900, "127.255.255.254"),
		addresses(new(dns.Msg).SetReply(question), 900, "127.3.5.1"),
		absent(new(dns.Msg).SetReply(question), "spamhaus.org.", 900, 60),
	} {
		raw, err := answer.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	var lists []list
	for word := range presets {
		l, err := (&DNSBL{List: word}).chosen()
		if err != nil {
			f.Fatal(err)
		}
		lists = append(lists, l)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, ours, err := unpack(raw, question)
		if err != nil || !ours {
			return
		}
		a, err := read(m, question.Question[0].Name)
		if err != nil {
			return
		}
		if a.ttl < minTTL || a.ttl > maxTTL || len(a.codes) > maxCodes {
			t.Errorf("a TTL of %s, %d codes", a.ttl, len(a.codes))
		}
		for _, l := range lists {
			if l.check(a.codes) != nil {
				continue
			}
			for _, c := range a.codes {
				if c[0] != 127 || l.read == nil && (c[1] == 255 && c[2] == 255 || c == std(1)) {
					t.Errorf("%s: %v is taken for a listing", l.name, c)
				}
			}
			r, err := l.report(a, visitor, now)
			if err != nil {
				continue
			}
			if r.Severity < -1 || r.Severity > 1 || r.Confidence < 0 || r.Confidence > 1 || r.Severity > 0 && len(a.codes) == 0 {
				t.Errorf("%s: %+v", l.name, r)
			}
			if err := l.capabilities().Check(r); err != nil {
				t.Errorf("%s: %v", l.name, err)
			}
		}
	})
}
