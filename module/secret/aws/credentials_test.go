package aws

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// withoutCredentials takes those of TestMain away.
func withoutCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
}

// profiles writes the files of AWS's tools.
func profiles(t *testing.T, config, credentials string) {
	t.Helper()
	for name, text := range map[string]string{"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": credentials} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, path)
	}
}

func TestNoCredentials(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		withoutCredentials(t)
		s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
		store := k.open(t, s, nil)
		if err := failing(t, store); !strings.Contains(err.Error(), "there are none, or whoever gives them does not answer: give Caddy a role") {
			t.Error(err)
		}
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://hunter2@127.0.0.1:1/creds")
		store = k.open(t, s, nil)
		_ = failing(t, store)
	})
}

func TestProfile(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		profiles(t, "[profile web]\nregion = eu-west-3\n",
			"[web]\naws_access_key_id = AKIAWEB\naws_secret_access_key = hunter2\n[broken]\naws_access_key_id = hunter2\n")
		s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
		wantValue(t, k.open(t, s, object{"profile": "web", "region": ""}), value)
		request, _ := s.question(k.get)
		if got := request.Header.Get("Authorization"); !strings.Contains(got, "AKIAWEB/") || !strings.Contains(got, "/eu-west-3/") {
			t.Errorf("signed as %s", got)
		}
		if err := failing(t, k.open(t, s, object{"profile": "absent"})); !strings.Contains(err.Error(), `there is no profile "absent" in ~/.aws/config`) {
			t.Error(err)
		}
		if err := failing(t, k.open(t, s, object{"profile": "broken"})); !strings.Contains(err.Error(), "`aws sts get-caller-identity` says which") {
			t.Error(err)
		}
	})
}

// TestRenewedProfile: once AWS has refused the credentials in a file, what is in the file by then is used.
func TestRenewedProfile(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		withoutCredentials(t)
		profiles(t, "", "[default]\naws_access_key_id = AKIAOLD\naws_secret_access_key = hunter2\n")
		s := newStandIn(t, map[string]reply{k.get: refuse("UnrecognizedClientException", leaky)})
		store := k.open(t, s, nil)
		if err := failing(t, store); !errors.Is(err, reputation.ErrRefused) {
			t.Fatal(err)
		}
		renewed := "[default]\naws_access_key_id = AKIANEW\naws_secret_access_key = hunter2\n"
		if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte(renewed), 0o600); err != nil {
			t.Fatal(err)
		}
		s.set(k.get, k.answer(value, "1"))
		wantValue(t, store, value)
		if request, _ := s.question(k.get); !strings.Contains(request.Header.Get("Authorization"), "AKIANEW/") {
			t.Error(request.Header.Get("Authorization"))
		}
	})
}

func TestNoRegion(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
		store := k.open(t, s, object{"region": ""})
		if err := failing(t, store); !strings.Contains(err.Error(), "no region is known: set region, or AWS_REGION where Caddy runs") {
			t.Error(err)
		}
		t.Setenv("AWS_REGION", "eu-central-1")
		wantValue(t, store, value)
	})
}

const assumed = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>` + secretKey + `</SecretAccessKey><SessionToken>` + sessionToken + `</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`

const notAssumed = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity ` + leaky + `</Message></Error></ErrorResponse>`

// TestWebIdentity: credentials as in EKS. They come from STS, not from the endpoint of the secrets.
func TestWebIdentity(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		withoutCredentials(t)
		token := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(token, []byte("hunter2"), 0o600); err != nil {
			t.Fatal(err)
		}
		sts := newStandIn(t, map[string]reply{"/AssumeRoleWithWebIdentity": {status: 403, body: notAssumed}})
		s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/caddy")
		t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
		store := k.open(t, s, nil)
		if err := failing(t, store); !errors.Is(err, reputation.ErrRefused) || !strings.Contains(err.Error(), "getting credentials for AWS") {
			t.Error(err)
		}
		sts.set("/AssumeRoleWithWebIdentity", ok(assumed))
		for range 3 {
			wantValue(t, store, value)
		}
		if request, _ := s.question(k.get); !strings.Contains(request.Header.Get("Authorization"), "ASIAROLE/") {
			t.Error(request.Header.Get("Authorization"))
		}
		if n := sts.count(""); n != 2 {
			t.Errorf("the role was assumed %d times, want once without and once with success", n)
		}
	})
}

// TestCredentialsHang: whoever gives credentials may hang, even when nobody waits any more, and comes back.
func TestCredentialsHang(t *testing.T) {
	before := callTimeout
	callTimeout = 500 * time.Millisecond
	t.Cleanup(func() { callTimeout = before })
	each(t, func(t *testing.T, k kind) {
		withoutCredentials(t)
		container := newStandIn(t, map[string]reply{"/creds": {status: hangs}})
		s := newStandIn(t, map[string]reply{k.get: k.answer(value, "1")})
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.URL+"/creds")
		t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", sessionToken)
		store := k.open(t, s, nil)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			began := time.Now()
			_, err := store.Fetch(ctx)
			cancel()
			if took := time.Since(began); took > time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v after %s", err, took)
			}
			harmless(t, err.Error())
		}
		container.set("/creds", ok(object{"AccessKeyId": "ASIATASK", "SecretAccessKey": secretKey, "Token": sessionToken,
			"Expiration": "2099-01-01T00:00:00Z"}))
		wantValue(t, store, value)
	})
}
