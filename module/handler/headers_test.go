package handler

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestStripHeaders(t *testing.T) {
	for _, tc := range []struct {
		name    string
		in      http.Header
		removed []string
	}{
		{"canonical", http.Header{"X-Ip-Reputation-Score": {"0"}}, []string{"X-Ip-Reputation-Score"}},
		{"several values", http.Header{"X-Ip-Reputation-Score": {"0", "1"}}, []string{"X-Ip-Reputation-Score"}},
		{"not canonical", http.Header{"x-ip-reputation-score": {"0"}}, []string{"x-ip-reputation-score"}},
		{"upper case", http.Header{"X-IP-REPUTATION-SCORE": {"0"}}, []string{"X-IP-REPUTATION-SCORE"}},
		{"underscores", http.Header{"X_Ip_Reputation_Score": {"0"}}, []string{"X_Ip_Reputation_Score"}},
		{"mixed", http.Header{"x_IP-reputation_Score": {"0"}}, []string{"x_IP-reputation_Score"}},
		{"dots", http.Header{"X.Ip.Reputation.Score": {"0"}}, []string{"X.Ip.Reputation.Score"}},
		{"unknown member", http.Header{"X-Ip-Reputation-Future": {"0"}}, []string{"X-Ip-Reputation-Future"}},
		{"no member", http.Header{"X-Ip-Reputation": {"0"}}, []string{"X-Ip-Reputation"}},
		{"request ID in disguise", http.Header{"X_request_id": {"a"}}, []string{"X_request_id"}},
		{"the request ID is looked at later", http.Header{"X-Request-Id": {"a"}}, nil},
		{"others", http.Header{"X-Ip": {"a"}, "X-Request": {"a"}, "Accept": {"b"}, "X-Ip-Reputatio": {"c"}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := tc.in.Clone()
			for _, name := range tc.removed {
				delete(want, name)
			}
			r := &http.Request{Header: tc.in}
			stripHeaders(r)
			if diff := cmp.Diff(want, r.Header); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStripConnectionTokens(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{"harmless", []string{"keep-alive"}, []string{"keep-alive"}},
		{"upgrade", []string{"keep-alive, Upgrade"}, []string{"keep-alive, Upgrade"}},
		{"ours alone", []string{"X-IP-Reputation-Score"}, nil},
		{"ours between others", []string{"keep-alive, x-ip-reputation-score ,close"}, []string{"keep-alive, close"}},
		{"several lines", []string{"close", "X-Ip-Reputation-Status,X-Request-ID"}, []string{"close"}},
		{"another spelling", []string{"x_ip_reputation_score"}, nil},
		{"empty elements", []string{",,X-Ip-Reputation-Score,,"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Connection": tc.in}}
			stripHeaders(r)
			if diff := cmp.Diff(tc.want, r.Header["Connection"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStripTrailers(t *testing.T) {
	got := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stripHeaders(r)
		_, _ = io.Copy(io.Discard, r.Body)
		trailers := r.Trailer.Clone()
		for name, values := range r.Header {
			trailers["header "+name] = values
		}
		got <- trailers
	}))
	defer server.Close()

	body, write := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Trailer = http.Header{"X-Ip-Reputation-Score": nil, "X-Checksum": nil}
	go func() {
		_, _ = io.WriteString(write, "body")
		r.Trailer.Set("X-Ip-Reputation-Score", "0")
		r.Trailer.Set("X-Checksum", "abc")
		_ = write.Close()
	}()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	trailers := <-got
	if _, forged := trailers["X-Ip-Reputation-Score"]; forged {
		t.Error("a forged trailer arrived")
	}
	if trailers.Get("X-Checksum") != "abc" {
		t.Errorf("another trailer was lost: %v", trailers)
	}
}

func TestDescribe(t *testing.T) {
	bad := reputation.Verdict{
		Score: 97, Scored: true, Status: reputation.Partial, Coverage: .999,
		Categories: reputation.CategoriesOf(reputation.Scanner, reputation.Tor),
		Facts: reputation.Facts{
			Country: "NL", ASN: 64500,
			Nature: reputation.Nature{}.With(reputation.NatureTor, true).With(reputation.NatureVPN, false),
		},
		Reasons: []reputation.Reason{
			{Source: "abuseipdb", Points: 28.8, Age: time.Hour}, {Source: "tor_exit", Points: 8},
		},
	}
	for _, tc := range []struct {
		name   string
		visit  visit
		detail detail
		want   http.Header
	}{
		{
			"full", visit{verdict: bad, decision: decision{action: reputation.Block}}, full, http.Header{
				headerScore: {"97"}, headerStatus: {"partial"}, headerAction: {"block;mode=observe"}, headerCoverage: {"0.99"},
				headerCategories: {"scanner, tor"}, headerReasons: {"abuseipdb;points=28.8;age=3600, tor_exit;points=8.0"},
				headerCountry: {"NL"}, headerASN: {"64500"}, headerNature: {"tor"}, headerRequestID: {"id"},
			},
		},
		{
			"a verified bot", visit{verdict: reputation.Verdict{
				Status: reputation.Exempt, Facts: reputation.Facts{Bot: "googlebot"},
			}}, full, http.Header{
				headerStatus: {"exempt"}, headerAction: {"pass;mode=observe"}, headerCoverage: {"0.00"},
				headerBot: {"googlebot"}, headerRequestID: {"id"},
			},
		},
		{
			"a verified bot that is judged", visit{verdict: reputation.Verdict{
				Status: reputation.Fresh, Scored: true, Facts: reputation.Facts{Bot: "googlebot"},
				Reasons: []reputation.Reason{{Source: reputation.SourceVerifiedBots, Points: -60}, {Source: "bad", Points: 12}},
			}}, full, http.Header{
				headerScore: {"0"}, headerStatus: {"fresh"}, headerAction: {"pass;mode=observe"}, headerCoverage: {"0.00"},
				headerReasons: {"verified_bots;points=-60.0;bot=googlebot, bad;points=12.0"},
				headerBot:     {"googlebot"}, headerRequestID: {"id"},
			},
		},
		{
			"the word of its network", visit{verdict: reputation.Verdict{
				Status: reputation.Unknown, Scored: true, Score: 4, Coverage: .1,
				Reasons: []reputation.Reason{{Source: "abuseipdb", Points: 6.4, Age: time.Hour, Network: true}},
			}}, full, http.Header{
				headerScore: {"4"}, headerStatus: {"unknown"}, headerAction: {"pass;mode=observe"}, headerCoverage: {"0.10"},
				headerReasons: {"abuseipdb;points=6.4;age=3600;network"}, headerRequestID: {"id"},
			},
		},
		{
			"minimal", visit{verdict: bad, decision: decision{action: reputation.Drop, enforce: true}}, minimal, http.Header{
				headerScore: {"97"}, headerStatus: {"partial"}, headerAction: {"drop"}, headerRequestID: {"id"},
			},
		},
		{"off", visit{verdict: bad}, off, http.Header{headerRequestID: {"id"}}},
		{
			"nothing known", visit{verdict: reputation.Verdict{Status: reputation.Unknown}, decision: decision{enforce: true}}, full, http.Header{
				headerStatus: {"unknown"}, headerAction: {"pass"}, headerCoverage: {"0.00"}, headerRequestID: {"id"},
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{}}
			tc.visit.requestID = "id"
			tc.visit.describe(r, tc.detail)
			if diff := cmp.Diff(tc.want, r.Header); diff != "" {
				t.Error(diff)
			}
			for name, values := range r.Header {
				r.Header[name] = append(values, "appended by a later handler")
			}
			if diff := cmp.Diff(tc.want[headerStatus], tc.visit.header[1:2]); tc.detail != off && diff != "" {
				t.Errorf("values share a backing array: %s", diff)
			}
		})
	}
}

func TestCoverageText(t *testing.T) {
	for share, want := range map[float64]string{0: "0.00", .5: "0.50", .004: "0.00", .999: "0.99", 1: "1.00", -1: "0.00", 2: "1.00"} {
		if got := coverageText(share); got != want {
			t.Errorf("%v: got %s; want %s", share, got, want)
		}
	}
}

func FuzzStripTokens(f *testing.F) {
	for _, seed := range []string{"close", "X-Ip-Reputation-Score", "a, x_ip_reputation_x ,b", ",,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := http.Header{"Connection": {value}}
		stripTokens(h, "Connection", h["Connection"])
		for _, kept := range h["Connection"] {
			for token := range strings.SplitSeq(kept, ",") {
				if isProtected(token) {
					t.Errorf("%q is left of %q", token, value)
				}
			}
		}
	})
}
