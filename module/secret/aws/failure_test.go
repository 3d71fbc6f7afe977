package aws

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// leaky is what a stand-in says that repeats all it knows, as InvalidSignatureException does with the request.
const leaky = "The Canonical String should have been 'POST / x-amz-security-token:" + sessionToken + "' " + accessKey + " " + secretKey + " " + value

func TestFailures(t *testing.T) {
	page := func(status int) reply {
		return reply{status: status, body: "<html>" + leaky + "</html>", header: map[string]string{"Content-Type": "text/html"}}
	}
	busy := reply{status: http.StatusTooManyRequests, body: leaky, header: map[string]string{"Retry-After": "30"}}
	long := reply{status: http.StatusOK, body: `{"SecretString":"` + strings.Repeat("x", 5<<20) + `"}`}
	refused, unknown, bad := reputation.ResultRefused, reputation.ResultNotFound, reputation.ResultBadAnswer
	for _, tc := range []struct {
		name  string
		reply reply
		want  reputation.Result
		text  string
	}{
		{"denied", refuse("AccessDeniedException", leaky), refused, "AWS answered AccessDeniedException: let the role or user that Caddy runs as do "},
		{"denied the key", refuse("AccessDeniedException", "User: x is not authorized to perform: kms:Decrypt on resource: y"), refused,
			"let the role or user that Caddy runs as do kms:Decrypt"},
		{"denied in a secret's words", refuse("AccessDeniedException", "not authorized to perform: "+value), refused, "GetS|ssm:GetParameter"},
		{"denied with 403", reply{status: 403, body: object{"__type": "AccessDenied", "message": leaky}}, refused, "AWS answered AccessDenied: "},
		{"decryption", refuse("DecryptionFailure", leaky), refused, "DecryptionFailure"},
		{"unknown key", refuse("UnrecognizedClientException", leaky), refused, "its credentials do not hold, or no longer"},
		{"expired", refuse("ExpiredTokenException", leaky), refused, "ExpiredTokenException: its credentials do not hold"},
		{"signature", refuse("InvalidSignatureException", leaky), refused, "InvalidSignatureException"},
		{"no such secret", refuse("ResourceNotFoundException", leaky), unknown, "check its name, and the region and account"},
		{"no such parameter", refuse("ParameterNotFound", leaky), unknown, "ParameterNotFound"},
		{"no such version", refuse("ParameterVersionNotFound", leaky), unknown, "ParameterVersionNotFound"},
		{"throttled", refuse("ThrottlingException", leaky), reputation.ResultThrottled, "fewer requests"},
		{"throttled with 429", busy, reputation.ResultThrottled, "no request during 30s"},
		{"to be deleted", refuse("InvalidRequestException", leaky), reputation.ResultError, "AWS answered InvalidRequestException"},
		{"down", reply{status: 500, body: object{"__type": "InternalServiceError", "message": leaky}}, reputation.ResultError, "InternalServiceError"},
		{"a code that is a secret", refuse(accessKey, leaky), reputation.ResultError, "no answer, status 400"},
		{"a code that is a token", refuse(sessionToken, leaky), reputation.ResultError, "no answer, status 400"},
		{"a page", page(http.StatusOK), bad, "check that AWS is what answers there"},
		{"a forbidden page", page(http.StatusForbidden), reputation.ResultError, "no answer, status 403"},
		{"a page of a gateway", page(http.StatusBadGateway), reputation.ResultError, "no answer, status 502"},
		{"a redirect", reply{status: 302, header: map[string]string{"Location": "http://" + secretKey + "/"}}, reputation.ResultError, "no answer, status 302"},
		{"nothing", ok(nil), bad, ""},
		{"an empty object", ok(object{}), bad, "check that AWS is what answers there"},
		{"a list", ok([]string{leaky}), bad, ""},
		{"half", ok(`{"SecretString":"` + value), bad, ""},
		{"another type", ok(object{"SecretString": object{"a": value}, "Parameter": value}), bad, ""},
		{"no end", long, bad, "it has more than 1048576 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			each(t, func(t *testing.T, k kind) {
				s := newStandIn(t, map[string]reply{k.get: tc.reply})
				store := k.open(t, s, nil)
				err := failing(t, store)
				if got := reputation.ResultOf(err); got != tc.want || !containsOne(err.Error(), tc.text) {
					t.Errorf("%s: %v; want %s with %q", got, err, tc.want, tc.text)
				}
				if !strings.Contains(err.Error(), "fetching prod/key from AWS ") {
					t.Errorf("%v: does not name the secret", err)
				}
				if n := s.count(k.get); n > maxAttempts {
					t.Errorf("%d attempts", n)
				}
				s.set(k.get, k.answer(value, "1"))
				wantValue(t, store, value)
			})
		})
	}
}

func containsOne(text, alternatives string) bool {
	for alternative := range strings.SplitSeq(alternatives, "|") {
		if strings.Contains(text, alternative) {
			return true
		}
	}
	return false
}

func TestConnectionBreaks(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s := newStandIn(t, nil)
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"SecretString":"` + value + `"`))
			panic(http.ErrAbortHandler)
		})
		if got := reputation.ResultOf(failing(t, k.open(t, s, nil))); got != reputation.ResultError && got != reputation.ResultBadAnswer {
			t.Error(got)
		}
	})
}

func TestContextEnded(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cancel()
		if _, err := k.open(t, s, nil).Fetch(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if n := s.count(""); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}
