package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/hashicorp/vault/api"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/internal/guest"
)

// method returns the configured login method.
func (v *Vault) method(ctx caddy.Context) (method, error) {
	if v.Token != "" {
		warnOfLiteral(ctx, "token", v.Token)
		return withToken(v.Token), nil
	}
	mount, err := guest.Resolve("auth_mount", v.AuthMount)
	if err != nil {
		return nil, err
	}
	if v.AppRole != nil {
		if mount == "" {
			mount = "approle"
		}
		warnOfLiteral(ctx, "secret ID", v.AppRole.SecretID)
		return withAppRole(mount, *v.AppRole), checkMount(mount)
	}
	if mount == "" {
		mount = "kubernetes"
	}
	role, err := guest.Resolve("role", v.Kubernetes.Role)
	if err != nil {
		return nil, err
	}
	file, err := guest.Resolve("jwt", v.Kubernetes.JWT)
	if err != nil {
		return nil, err
	}
	if file == "" {
		file = defaultJWT
	}
	return withServiceAccount(mount, role, file), checkMount(mount)
}

func checkMount(mount string) error {
	if !isPath(mount) {
		return fmt.Errorf("auth_mount %q is none: write it without auth/ and without / at its ends, "+
			"such as k8s-production",
			mount)
	}
	return nil
}

func warnOfLiteral(ctx caddy.Context, what, text string) {
	if !strings.Contains(text, "{") {
		ctx.Slogger().Warn("credentials for Vault stand in the configuration itself, where `/config` "+
			"and autosave.json show them",
			"which", what, "cure", "use a placeholder such as {file./path/to/file} or {env.NAME}")
	}
}

// withToken uses a configured token. It looks up the token's lifetime, which is unknown if no
// policy allows to look it up.
func withToken(text string) method {
	return func(ctx context.Context, s *session) (tokenLease, error) {
		token, err := credential("token", text)
		if err != nil {
			return tokenLease{}, err
		}
		s.sent = append(s.sent, token)
		s.client.SetToken(token)
		self, err := s.client.Auth().Token().LookupSelfWithContext(ctx)
		switch {
		case status(err) == http.StatusForbidden, err == nil && self == nil:
			return tokenLease{token: token}, nil
		case err != nil:
			return tokenLease{}, s.failure(ctx, err, "check the token")
		}
		renewable, _ := self.Data["renewable"].(bool)
		return tokenLease{token, seconds(self.Data["ttl"]), renewable}, nil
	}
}

func withAppRole(mount string, role AppRole) method {
	return func(ctx context.Context, s *session) (tokenLease, error) {
		roleID, err := credential("role ID", role.RoleID)
		if err != nil {
			return tokenLease{}, err
		}
		secretID, err := credential("secret ID", role.SecretID)
		if err != nil {
			return tokenLease{}, err
		}
		return s.login(ctx, mount, map[string]any{"role_id": roleID, "secret_id": secretID}, roleID, secretID)
	}
}

// maxJWT is the maximum size of the service account's token, in bytes.
const maxJWT = 64 << 10

func withServiceAccount(mount, role, file string) method {
	return func(ctx context.Context, s *session) (tokenLease, error) {
		text, err := regularfile.Read(file, maxJWT)
		if err != nil {
			return tokenLease{}, fmt.Errorf("reading the service account's token: %w: Caddy must run in "+
				"a pod, or jwt name the file",
				err)
		}
		jwt := strings.TrimSpace(string(text))
		if jwt == "" {
			return tokenLease{}, fmt.Errorf("the service account's token in %s is empty", file)
		}
		return s.login(ctx, mount, map[string]any{"role": role, "jwt": jwt}, jwt)
	}
}

// credential resolves the placeholders of a credential. Its value is sent to Vault only.
func credential(what, text string) (string, error) {
	value, err := guest.Resolve(what, text)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("the %s holds characters that none has, such as a line break: check what "+
			"the variable or the file "+
			"holds", what)
	}
	return value, nil
}

// login logs in with an auth method. Errors do not quote the secret ones of the credentials.
func (s *session) login(
	ctx context.Context, mount string, credentials map[string]any, secret ...string,
) (tokenLease, error) {
	s.sent = append(s.sent, secret...)
	path := "auth/" + mount + "/login"
	answer, err := s.client.Logical().WriteWithContext(ctx, path, credentials)
	switch code := status(err); {
	case code == http.StatusBadRequest, code == http.StatusUnauthorized, code == http.StatusForbidden:
		return tokenLease{}, fmt.Errorf("%w: Vault answered %d to the login at %s%s: check the role, "+
			"its credentials, and auth_mount",
			reputation.ErrRefused, code, path, s.detail(err))
	case code == http.StatusNotFound:
		return tokenLease{}, fmt.Errorf("%w: there is no auth method at auth/%s: set auth_mount",
			reputation.ErrRefused, mount)
	case err != nil:
		return tokenLease{}, s.failure(ctx, err, "check the login at "+path)
	case answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "":
		return tokenLease{}, fmt.Errorf("%w: the login at %s gave no token", reputation.ErrBadAnswer, path)
	}
	return tokenLease{answer.Auth.ClientToken,
		time.Duration(answer.Auth.LeaseDuration) * time.Second, answer.Auth.Renewable}, nil
}

// maxDetail is how much of Vault's message an error quotes, in bytes.
const maxDetail = 200

// detail returns Vault's message about an error, as one short line, or "" if it contains a secret.
func (s *session) detail(err error) string {
	var answer *api.ResponseError
	if !errors.As(err, &answer) || answer.RawError {
		return ""
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, strings.Join(answer.Errors, ", "))
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	for _, secret := range s.sent {
		if strings.Contains(text, secret) {
			return ""
		}
	}
	// shorten it last, so that a secret is not overlooked because it was cut
	return ": " + text[:min(len(text), maxDetail)]
}

// failure converts an error of a call. The cure is for a call that Vault does not allow.
func (s *session) failure(ctx context.Context, err error, cure string) error {
	code := status(err)
	switch code {
	case 0:
		return guest.Cause(ctx, err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: Vault answered %d%s: %s", reputation.ErrRefused, code, s.detail(err), cure)
	case http.StatusTooManyRequests:
		return guest.Throttled(s.header)
	case http.StatusServiceUnavailable:
		return fmt.Errorf("no answer, status 503%s: Vault is sealed, or being maintained", s.detail(err))
	}
	return fmt.Errorf("no answer, status %d%s: check that Vault is what answers there", code, s.detail(err))
}

func unknown(path string) error {
	return fmt.Errorf("%w: there is nothing at %s: check that the engine is a key-value engine of "+
		"version 2, and that path is "+
		"written as for `vault kv get`", reputation.ErrUnknown, path)
}
