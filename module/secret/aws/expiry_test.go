package aws

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// day returns when a day ends.
func day(text string) time.Time {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return at.AddDate(0, 0, 1)
}

func epoch(at time.Time) float64 { return float64(at.Unix()) }

func described(expires string, rotation ...any) reply {
	answer := object{"Name": "prod/key", "Tags": []object{{"Key": "team", "Value": "web"}, {"Key": "expires", "Value": expires}}}
	if len(rotation) == 2 {
		answer["RotationEnabled"], answer["NextRotationDate"] = rotation[0], rotation[1]
	}
	return ok(answer)
}

func tagged(expires string) reply {
	return ok(object{"TagList": []object{{"Key": "team", "Value": "web"}, {"Key": "Expires", "Value": expires}}})
}

func policies(timestamp string) reply {
	return ok(object{"Parameters": []object{{"Name": "prod/key", "Policies": []object{
		{"PolicyType": "NoChangeNotification", "PolicyText": `{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"20","Unit":"Days"}}`},
		{"PolicyType": "Expiration", "PolicyStatus": "Pending",
			"PolicyText": `{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"` + timestamp + `"}}`},
	}}}})
}

func TestExpires(t *testing.T) {
	soon, later := day("2098-01-01"), day("2099-03-31")
	type replies = map[string]reply
	for _, tc := range []struct {
		name, kind string
		replies    replies
		want       time.Time
		rotates    bool
	}{
		{"date", "secretsmanager", replies{"DescribeSecret": described("2099-03-31")}, later, false},
		{"time", "secretsmanager", replies{"DescribeSecret": described("2099-04-01T02:00:00+02:00")}, later, false},
		{"past", "secretsmanager", replies{"DescribeSecret": described("2001-03-31")}, day("2001-03-31"), false},
		{"nonsense", "secretsmanager", replies{"DescribeSecret": described("hunter2")}, time.Time{}, false},
		{"rotation", "secretsmanager", replies{"DescribeSecret": described("", true, epoch(soon))}, soon, true},
		{"rotation late", "secretsmanager", replies{"DescribeSecret": described("", true, epoch(day("2001-01-01")))}, day("2001-01-01"), false},
		{"rotation before the tag", "secretsmanager", replies{"DescribeSecret": described("2099-03-31", true, epoch(soon))}, soon, true},
		{"rotation after the tag", "secretsmanager", replies{"DescribeSecret": described("2098-01-01", true, epoch(later))}, soon, false},
		{"rotation turned off", "secretsmanager", replies{"DescribeSecret": described("", false, epoch(soon))}, time.Time{}, false},
		{"rotation without a date", "secretsmanager", replies{"DescribeSecret": described("2099-03-31", true, nil)}, later, false},
		{"not allowed", "secretsmanager", nil, time.Time{}, false},
		{"garbage", "secretsmanager", replies{"DescribeSecret": ok("<html>")}, time.Time{}, false},
		{"tag", "ssm", replies{"ListTagsForResource": tagged("2099-03-31")}, later, false},
		{"policy", "ssm", replies{"DescribeParameters": policies("2098-01-02T00:00:00.000Z")}, soon, false},
		{"both, tag first", "ssm", replies{"ListTagsForResource": tagged("2098-01-01"), "DescribeParameters": policies("2099-04-01T00:00:00.000Z")}, soon, false},
		{"both, policy first", "ssm", replies{"ListTagsForResource": tagged("2099-03-31"), "DescribeParameters": policies("2098-01-02T00:00:00.000Z")}, soon, false},
		{"tag nonsense", "ssm", replies{"ListTagsForResource": tagged("31.3.2099")}, time.Time{}, false},
		{"policy nonsense", "ssm", replies{"ListTagsForResource": tagged("2099-03-31"), "DescribeParameters": policies("soon")}, later, false},
		{"parameter not allowed", "ssm", nil, time.Time{}, false},
		{"parameter garbage", "ssm", replies{"ListTagsForResource": ok("<html>"), "DescribeParameters": ok(nil)}, time.Time{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := kinds[tc.kind]
			answers := replies{k.get: k.answer(value, "1")}
			maps.Copy(answers, tc.replies)
			got := wantValue(t, k.open(t, newStandIn(t, answers), nil), value)
			if !got.Expires.Equal(tc.want) {
				t.Errorf("expires %s, want %s", got.Expires, tc.want)
			}
			// what is rotated moves on by itself, as a lease does, so nobody is to be warned of it
			if rotates := got.TTL > 0; rotates != tc.rotates || rotates && time.Until(got.Expires)-got.TTL > time.Minute {
				t.Errorf("TTL %s, and it expires in %s", got.TTL, time.Until(got.Expires))
			}
		})
	}
}

func TestDescribeQuestions(t *testing.T) {
	s := newStandIn(t, map[string]reply{
		"GetSecretValue": kinds["secretsmanager"].answer(value, "1"), "DescribeSecret": described("2099-03-31"),
		"GetParameter": kinds["ssm"].answer(value, "1"), "ListTagsForResource": tagged("2099-03-31"), "DescribeParameters": policies("x"),
	})
	wantValue(t, kinds["secretsmanager"].open(t, s, nil), value)
	wantValue(t, kinds["ssm"].open(t, s, object{"path": "prod/key:3"}), value)
	for operation, want := range map[string]object{
		"DescribeSecret":      {"SecretId": "prod/key"},
		"ListTagsForResource": {"ResourceType": "Parameter", "ResourceId": "prod/key"},
		"DescribeParameters":  {"ParameterFilters": []any{object{"Key": "Name", "Option": "Equals", "Values": []any{"prod/key"}}}},
	} {
		if _, question := s.question(operation); !cmp.Equal(want, question) {
			t.Error(cmp.Diff(want, question))
		}
	}
}

// TestDescribedOnceAnHour: and with every new version; what was known stays while it cannot be asked.
func TestDescribedOnceAnHour(t *testing.T) {
	k := kinds["secretsmanager"]
	s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1"), "DescribeSecret": described("2099-03-31")})
	store := k.open(t, s, nil)
	want := func(calls int, expires time.Time) {
		t.Helper()
		got := wantValue(t, store, value)
		if n := s.count("DescribeSecret"); n != calls || !got.Expires.Equal(expires) {
			t.Errorf("%d calls, expires %s; want %d, %s", n, got.Expires, calls, expires)
		}
	}
	hourLater := func() {
		x := store.(*SecretsManager).expiry
		x.mu.Lock()
		defer x.mu.Unlock()
		x.asked = x.asked.Add(-describeInterval)
	}
	want(1, day("2099-03-31"))
	s.set("DescribeSecret", described("2098-01-01"))
	want(1, day("2099-03-31"))
	hourLater()
	want(2, day("2098-01-01"))
	s.set("DescribeSecret", refuse("AccessDeniedException", leaky))
	hourLater()
	want(3, day("2098-01-01"))
	want(3, day("2098-01-01"))
	s.set(k.get, k.answer(value, "2"))
	want(4, time.Time{})
	want(4, time.Time{})
	s.set("DescribeSecret", described("2097-01-01"))
	hourLater()
	want(5, day("2097-01-01"))
}

func TestEnd(t *testing.T) {
	now := day("2026-11-24")
	for _, tc := range []struct {
		name string
		end  lifetime
		want reputation.Secret
	}{
		{"none", lifetime{}, reputation.Secret{}},
		{"both at once", lifetime{expires: now.Add(time.Hour), rotates: now.Add(time.Hour)},
			reputation.Secret{Expires: now.Add(time.Hour), TTL: time.Hour}},
		{"rotation is late", lifetime{rotates: now.Add(-time.Hour)}, reputation.Secret{Expires: now.Add(-time.Hour)}},
	} {
		var got reputation.Secret
		tc.end.apply(&got, now)
		if got != tc.want {
			t.Errorf("%s: expires %s, TTL %s", tc.name, got.Expires, got.TTL)
		}
	}
}
