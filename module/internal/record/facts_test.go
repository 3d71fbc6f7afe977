package record

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const abuseipdb, crowdsec, dronebl = SourceID(1), SourceID(2), SourceID(3)

func at(source SourceID, fetched uint32) Answer { return Answer{Source: source, Fetched: fetched} }

func nature(is bool, kinds ...reputation.Kind) (n reputation.Nature) {
	for _, k := range kinds {
		n = n.With(k, is)
	}
	return n
}

func known(r *Record) reputation.Facts {
	f := reputation.Facts{ASN: r.ASN, Nature: r.Nature}
	if r.Country != [2]byte{} {
		f.Country = string(r.Country[:])
	}
	return f
}

func TestFactsHavePrecedence(t *testing.T) {
	hosting := nature(true, reputation.NatureHosting)
	for _, tc := range []struct {
		name  string
		learn func(r *Record)
		want  reputation.Facts
	}{
		{"the newer provider wins", func(r *Record) {
			r.Learn(at(abuseipdb, 100), reputation.Facts{Country: "NL", ASN: 1})
			r.Learn(at(crowdsec, 200), reputation.Facts{Country: "DE", ASN: 2})
		}, reputation.Facts{Country: "DE", ASN: 2}},
		{"in whatever order they are heard", func(r *Record) {
			r.Learn(at(crowdsec, 200), reputation.Facts{Country: "DE", ASN: 2})
			r.Learn(at(abuseipdb, 100), reputation.Facts{Country: "NL", ASN: 1})
		}, reputation.Facts{Country: "DE", ASN: 2}},
		{"fact by fact", func(r *Record) {
			r.Learn(at(crowdsec, 200), reputation.Facts{Country: "DE"})
			r.Learn(at(abuseipdb, 100), reputation.Facts{Country: "NL", ASN: 1})
		}, reputation.Facts{Country: "DE", ASN: 1}},
		{"who says nothing takes nothing away", func(r *Record) {
			r.Learn(at(crowdsec, 200), reputation.Facts{Country: "DE", ASN: 2})
			r.Learn(at(crowdsec, 300), reputation.Facts{})
		}, reputation.Facts{Country: "DE", ASN: 2}},
		{"but what it does not repeat gives way", func(r *Record) {
			r.Learn(at(crowdsec, 200), reputation.Facts{Country: "DE", ASN: 2})
			r.Learn(at(crowdsec, 300), reputation.Facts{ASN: 3})
			r.Learn(at(abuseipdb, 100), reputation.Facts{Country: "NL", ASN: 1})
		}, reputation.Facts{Country: "NL", ASN: 3}},
		{"kinds of nature one by one", func(r *Record) {
			r.Learn(at(dronebl, 50), reputation.Facts{Nature: hosting.With(reputation.NatureMobile, false)})
			r.Learn(at(abuseipdb, 100), reputation.Facts{Nature: nature(true, reputation.NatureVPN, reputation.NatureTor)})
			r.Learn(at(crowdsec, 200), reputation.Facts{Nature: nature(false, reputation.NatureHosting, reputation.NatureTor)})
		}, reputation.Facts{Nature: nature(true, reputation.NatureVPN).With(reputation.NatureHosting, false).
			With(reputation.NatureTor, false).With(reputation.NatureMobile, false)}},
		{"an older nature fills in", func(r *Record) {
			r.Learn(at(crowdsec, 200), reputation.Facts{Nature: nature(false, reputation.NatureTor)})
			r.Learn(at(abuseipdb, 100), reputation.Facts{Nature: nature(true, reputation.NatureVPN, reputation.NatureTor)})
		}, reputation.Facts{Nature: nature(true, reputation.NatureVPN).With(reputation.NatureTor, false)}},
		{"no country is no country", func(r *Record) {
			r.Learn(at(crowdsec, 200), reputation.Facts{Country: "NL"})
			r.Learn(at(crowdsec, 300), reputation.Facts{Country: "n!"})
			r.Learn(at(crowdsec, 400), reputation.Facts{Country: "nowhere"})
		}, reputation.Facts{Country: "NL"}},
		{"what a removed provider gave gives way", func(r *Record) {
			r.Learn(at(crowdsec, 200), reputation.Facts{Country: "DE"})
			r.Retain([]SourceID{abuseipdb})
			r.Learn(at(abuseipdb, 100), reputation.Facts{Country: "NL"})
		}, reputation.Facts{Country: "NL"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r Record
			tc.learn(&r)
			if diff := cmp.Diff(tc.want, known(&r), cmp.AllowUnexported(reputation.Nature{}), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if back := repacked(&r); back != r {
				t.Errorf("as words it becomes %+v", back.From)
			}
		})
	}
}

// Two instances that learn the same in another order, and then from each other, know the same of every fact.
func TestMergeIsNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var direct, a, b Record
		times := rapid.Permutation([]uint32{1, 2, 3, 4, 5, 6}).Draw(t, "times")
		for i, source := range []SourceID{abuseipdb, crowdsec, dronebl} {
			f := reputation.Facts{
				Country: rapid.SampledFrom([]string{"", "NL", "DE", "FR"}).Draw(t, "country"),
				ASN:     rapid.SampledFrom([]uint32{0, 1, 2, 3}).Draw(t, "asn"),
			}
			answer := at(source, times[i])
			direct.Learn(answer, f)
			if rapid.Bool().Draw(t, "to the one") {
				a.Learn(answer, f)
			} else {
				b.Learn(answer, f)
			}
		}
		a.Merge(&b)
		a.Merge(&b)
		if known(&a) != known(&direct) || a.From != direct.From {
			t.Fatalf("got %+v from %+v; want %+v from %+v", known(&a), a.From, known(&direct), direct.From)
		}
	})
}

// Facts of unknown age, as an earlier version wrote them, give way to any answer's, and are taken over with newer answers.
func TestFactsOfUnknownAge(t *testing.T) {
	var old Record
	old.SetFirstHead('D'<<56 | 'E'<<48 | 1<<40 | 2<<32 | 64500)
	old.Set(at(abuseipdb, 100))
	want := reputation.Facts{Country: "DE", ASN: 64500, Nature: nature(true, reputation.NatureTor).With(reputation.NatureVPN, false)}
	if got := known(&old); got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
	var mine Record
	mine.Set(at(abuseipdb, 50))
	mine.Merge(&old)
	if got := known(&mine); got != want {
		t.Errorf("merged: got %+v; want %+v", got, want)
	}
	mine.Learn(at(crowdsec, 1), reputation.Facts{Country: "NL"})
	if got := known(&mine).Country; got != "NL" {
		t.Errorf("the country is %s; want that of the only one that gave any", got)
	}
}

// Every kind of nature must have room in the head: a seventh needs other words.
func TestEveryNatureHasRoom(t *testing.T) {
	var all reputation.Nature
	for k := reputation.Kind(0); !strings.HasPrefix(k.String(), "Kind("); k++ {
		all = all.With(k, k%2 == 0)
	}
	var r Record
	r.Learn(at(abuseipdb, 100), reputation.Facts{Nature: all})
	if back := repacked(&r); back != r {
		t.Errorf("got %+v; want %+v", back, r)
	}
}

// Whatever is learnt, words hold all of it, and no answer is lost that there was room for.
func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Record
		for i := range rapid.IntRange(0, MaxAnswers+3).Draw(t, "answers") {
			r.Learn(Answer{
				Source: SourceID(rapid.IntRange(1, MaxAnswers+3).Draw(t, "source")), Due: uint32(i), Fetched: rapid.Uint32().Draw(t, "fetched"),
			}, reputation.Facts{
				Country: rapid.StringMatching("[A-Z]{2}|").Draw(t, "country"), ASN: rapid.Uint32().Draw(t, "asn"),
				Nature: reputation.UnpackNature(rapid.Byte().Draw(t, "yes"), rapid.Byte().Draw(t, "no")),
			})
		}
		if back := repacked(&r); back != r {
			t.Errorf("got %+v; want %+v", back, r)
		}
		reset := r
		if reset.Reset(); reset != (Record{}) || !reset.Empty() {
			t.Errorf("reset leaves %+v", reset)
		}
	})
}

// repacked returns the record as its words have it.
func repacked(r *Record) (back Record) {
	back.SetHead(r.Head())
	for i := range r.Answers {
		w0, w1 := r.Words(&r.Answers[i])
		back.Answers[i] = AnswerFrom(w0, w1)
		back.SetGiven(w0)
	}
	return back
}

func TestEveryProviderHasAPlace(t *testing.T) {
	if MaxAnswers < 32 {
		t.Errorf("%d providers have a place; want 32 at least", MaxAnswers)
	}
}
