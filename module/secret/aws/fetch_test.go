package aws

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestValues(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		for _, tc := range []struct {
			name, text, field, want string
			wantErr                 string
		}{
			{name: "text", text: value, want: value},
			{name: "line break at its end", text: value + "\n", want: value},
			{name: "line break of Windows", text: value + "\r\n", want: value},
			{name: "blank at its end", text: value + " ", want: value + " "},
			{name: "quoted", text: `"x"`, want: `"x"`},
			{name: "digits", text: "007", want: "007"},
			{name: "a list", text: `["a"]`, want: `["a"]`},
			{name: "nearly an object", text: `{"a":1} x`, want: `{"a":1} x`},
			{name: "member", text: `{"user":"hunter2","key":"` + value + `"}`, field: "key", want: value},
			{name: "number", text: `{"key":12345678901234567890}`, field: "key", want: "12345678901234567890"},
			{name: "no such member", text: `{"user":"hunter2"}`, field: "key", wantErr: `no member "key": set field to one that it has`},
			{name: "member null", text: `{"key":null}`, field: "key", wantErr: `no member "key"`},
			{name: "member empty", text: `{"key":""}`, field: "key", wantErr: `the member "key" of what is stored is empty`},
			{name: "member an object", text: `{"key":{"a":"hunter2"}}`, field: "key", wantErr: "neither text nor a number"},
			{name: "member of text", text: "hunter2", field: "key", wantErr: "no JSON object, so it has no member \"key\": remove field"},
			{name: "member of a list", text: `["hunter2"]`, field: "key", wantErr: "no JSON object"},
			{name: "object as a whole", text: `{"key":"hunter2"}`, wantErr: "say with field which of its members to use"},
			{name: "empty", text: "\n", wantErr: "what is stored is empty"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				store := k.open(t, newStandIn(t, map[string]reply{k.get: k.answer(tc.text, "1")}), object{"field": tc.field})
				if tc.wantErr == "" {
					wantValue(t, store, tc.want)
					return
				}
				err := failing(t, store)
				if !errors.Is(err, reputation.ErrUnknown) || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("the error is %v, want ErrUnknown with %q", err, tc.wantErr)
				}
			})
		}
	})
}

func TestBinary(t *testing.T) {
	s := newStandIn(t, map[string]reply{"GetSecretValue": ok(object{"Name": "prod/key", "SecretBinary": "aHVudGVyMg=="})})
	err := failing(t, kinds["secretsmanager"].open(t, s, nil))
	if !errors.Is(err, reputation.ErrUnknown) || !strings.Contains(err.Error(), "binary: store it as text, with --secret-string") {
		t.Error(err)
	}
}

// TestQuestions: what AWS is asked, where, and by whom.
func TestQuestions(t *testing.T) {
	const arnSecret = "arn:aws:secretsmanager:us-gov-west-1:123456789012:secret:prod/key-a1b2c3"
	const arnParameter = "arn:aws:ssm:ap-southeast-2:123456789012:parameter/prod/key"
	t.Setenv("AWS_TEST_STAGE", "prod")
	t.Setenv("AWS_REGION", "us-east-1")
	for _, tc := range []struct {
		name, kind string
		config     object
		want       object
		region     string
	}{
		{"name", "secretsmanager", object{}, object{"SecretId": "prod/key"}, "eu-central-1"},
		{"stage", "secretsmanager", object{"version_stage": "AWSPREVIOUS"},
			object{"SecretId": "prod/key", "VersionStage": "AWSPREVIOUS"}, "eu-central-1"},
		{"placeholder", "secretsmanager", object{"name": "{env.AWS_TEST_STAGE}/other"}, object{"SecretId": "prod/other"}, "eu-central-1"},
		{"region of the environment", "secretsmanager", object{"region": ""}, object{"SecretId": "prod/key"}, "us-east-1"},
		{"ARN", "secretsmanager", object{"name": arnSecret, "region": ""}, object{"SecretId": arnSecret}, "us-gov-west-1"},
		{"managed", "secretsmanager", object{"name": "rds!db-0123"}, object{"SecretId": "rds!db-0123"}, "eu-central-1"},
		{"path", "ssm", object{"path": "/prod/key"}, object{"Name": "/prod/key", "WithDecryption": true}, "eu-central-1"},
		{"version", "ssm", object{"path": "/prod/key:3"}, object{"Name": "/prod/key:3", "WithDecryption": true}, "eu-central-1"},
		{"ARN of a parameter", "ssm", object{"path": arnParameter, "region": ""},
			object{"Name": arnParameter, "WithDecryption": true}, "ap-southeast-2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := kinds[tc.kind]
			s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
			store := k.open(t, s, tc.config)
			if n := s.count(""); n != 0 {
				t.Fatalf("AWS was called %d times before the first Fetch", n)
			}
			wantValue(t, store, value)
			request, question := s.question(k.get)
			if diff := cmp.Diff(tc.want, question); diff != "" {
				t.Error(diff)
			}
			if got := request.Header.Get("Authorization"); !strings.Contains(got, "/"+tc.region+"/") {
				t.Errorf("signed for %s, want region %s", got, tc.region)
			}
			if got := request.Header.Get("X-Amz-Security-Token"); got != sessionToken {
				t.Errorf("session token %q", got)
			}
			if !request.Close {
				t.Error("the connection is kept")
			}
		})
	}
}

func TestRotation(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
		store := k.open(t, s, nil)
		wantValue(t, store, value)
		s.set(k.get, k.answer("n3w-v4lu3", "2"))
		wantValue(t, store, "n3w-v4lu3")
	})
}

func TestAwayAndBack(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
		s.Close()
		store := k.open(t, s, nil)
		for range 2 {
			if err := failing(t, store); !strings.Contains(err.Error(), "connection refused") || reputation.ResultOf(err) != reputation.ResultError {
				t.Error(err)
			}
			s.restart(t)
			wantValue(t, store, value)
			s.Close()
		}
	})
}

// TestHanging: a Fetch returns soon after its context ends, whichever call hangs, and with the value if that has come.
func TestHanging(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		for _, what := range append([]string{k.get}, k.describe...) {
			t.Run(what, func(t *testing.T) {
				s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
				s.set(what, reply{status: hangs})
				store := k.open(t, s, nil)
				ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
				defer cancel()
				began := time.Now()
				got, err := store.Fetch(ctx)
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("returned after %s", took)
				}
				if what != k.get {
					if err != nil || got.Value != value {
						t.Errorf("got %q and error %v, although only the end is not told", got.Value, err)
					}
					return
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				s.set(what, k.answer(value, "1"))
				wantValue(t, store, value)
			})
		}
	})
}

func TestClockIsWrong(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s := newStandIn(t, nil)
		wrong := refuse("InvalidSignatureException", "Signature expired: "+sessionToken)
		wrong.header = map[string]string{"Date": time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}
		s.set(k.get, wrong)
		store := k.open(t, s, nil)
		err := failing(t, store)
		if !errors.Is(err, reputation.ErrRefused) || !strings.Contains(err.Error(), "and its clock") {
			t.Error(err)
		}
		request, _ := s.question(k.get)
		signed, err := time.Parse("20060102T150405Z", request.Header.Get("X-Amz-Date"))
		if err != nil || time.Until(signed) < 50*time.Minute {
			t.Errorf("signed for %s (%v), although AWS has said that it is an hour later", signed, err)
		}
		if n := s.count(k.get); n != maxAttempts {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestConcurrently(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		replies := map[string]reply{k.get: k.answer(value, "1")}
		maps.Copy(replies, map[string]reply{
			"DescribeSecret":      ok(object{"Tags": []object{{"Key": "expires", "Value": "2099-01-01"}}}),
			"ListTagsForResource": ok(object{"TagList": []object{{"Key": "expires", "Value": "2099-01-01"}}}),
		})
		s := newStandIn(t, replies)
		store := k.open(t, s, nil)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if i == 4 {
					s.set(k.get, k.answer(value, "2"))
				}
				if got, err := store.Fetch(t.Context()); err != nil || got.Value != value {
					t.Errorf("got %q and error %v", got.Value, err)
				}
			})
		}
		wg.Wait()
	})
}
