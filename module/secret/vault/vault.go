// Package vault fetches secrets from HashiCorp Vault, and from OpenBao, which
// speaks the same protocol.
package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/hashicorp/vault/api"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/internal/guest"
)

const (
	exampleURL   = "https://vault.example.org:8200"
	examplePath  = "secret/abuseipdb"
	defaultField = "value"
	defaultJWT   = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

func init() {
	caddy.RegisterModule(Vault{})
}

// Vault fetches a secret from a key-value engine, version 2, of HashiCorp Vault or OpenBao. It logs
// in with one of token, approle and kubernetes. A policy must allow `read` on
// `<mount>/data/<path>`.
//
// It logs in when a secret is first fetched, renews its token after two thirds of
// the token's lifetime, and logs in again when the token can no longer be renewed.
// The secret expires according to the custom metadata `expires` (a day, in UTC, or a
// time as in RFC 3339: `vault kv metadata patch -custom-metadata=expires=2027-03-31
// secret/abuseipdb`), or at the time at which Vault will delete the version.
//
// Global placeholders are resolved when the configuration is loaded. Those in credentials are
// resolved at each login, so that a replaced file is used without a reload. Settings that are
// missing here come from the variables of Vault's tools: `VAULT_ADDR`, `VAULT_NAMESPACE`,
// `VAULT_CACERT`, `VAULT_CLIENT_CERT`, `VAULT_CLIENT_KEY`, `VAULT_TLS_SERVER_NAME`,
// `VAULT_PROXY_ADDR`. `VAULT_TOKEN` is used only with `token {env.VAULT_TOKEN}`.
type Vault struct {
	// The secret to fetch: the mount of the engine and the path in it, as for `vault kv get`, such
	// as `secret/abuseipdb`. There is no `data` between the two. Required.
	Path string `json:"path,omitempty"`

	// The mount of the engine, with which path must begin. It is needed if the mount has several
	// parts, such as `team/kv`. Default: the first part of path.
	Mount string `json:"mount,omitempty"`

	// The member of the secret to use. Default: `value`.
	Field string `json:"field,omitempty"`

	// The version of the secret to use. With a fixed version, newer ones are ignored. Default: 0,
	// which means the newest.
	Version int `json:"version,omitempty"`

	// The address of Vault. Credentials are sent there, so it should begin with `https://`.
	// Default: `VAULT_ADDR`, otherwise `https://127.0.0.1:8200`.
	Address string `json:"address,omitempty"`

	// The namespace of the engine and the auth method, in editions with namespaces. Default:
	// `VAULT_NAMESPACE`, otherwise none.
	Namespace string `json:"namespace,omitempty"`

	// A PEM file with the certificate authorities for Vault's certificate. It is read when the
	// configuration is loaded. Default: `VAULT_CACERT`, otherwise those of the system.
	CA string `json:"ca,omitempty"`

	// A token, as a placeholder, such as `{file./run/secrets/vault}` or `{env.VAULT_TOKEN}`. It is
	// renewed if possible. When it has expired, the placeholder is resolved again. One of `token`,
	// `approle` and `kubernetes` is required.
	Token string `json:"token,omitempty"`

	// Logs in with a role and its secret. One of `token`, `approle` and `kubernetes` is required.
	AppRole *AppRole `json:"approle,omitempty"`

	// Logs in as the service account of the pod that Caddy runs in.
	// One of `token`, `approle` and `kubernetes` is required.
	Kubernetes *Kubernetes `json:"kubernetes,omitempty"`

	// The mount of the auth method, such as `k8s-production`. It has no effect with a token.
	// Default: `approle` or `kubernetes`.
	AuthMount string `json:"auth_mount,omitempty"`

	name    string // of the secret, in errors
	path    string // inside the mount
	mount   string
	field   string
	session *session
}

// AppRole is a role for machines, https://developer.hashicorp.com/vault/docs/auth/approle.
type AppRole struct {
	// The role's ID. It may be a placeholder. Required.
	RoleID string `json:"role_id,omitempty"`

	// The role's secret ID, as a placeholder, such as
	// `{file./run/secrets/vault_secret_id}`. Required.
	SecretID string `json:"secret_id,omitempty"`
}

// Kubernetes is an auth method that trusts a cluster,
// https://developer.hashicorp.com/vault/docs/auth/kubernetes.
type Kubernetes struct {
	// The role that is bound to the service account. Required.
	Role string `json:"role,omitempty"`

	// The file with the service account's token. It is read at each login, since the cluster
	// replaces it. Default: `/var/run/secrets/kubernetes.io/serviceaccount/token`.
	JWT string `json:"jwt,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Vault) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.secrets.vault",
		New: func() caddy.Module { return new(Vault) },
	}
}

// Provision checks the settings. It makes no request: the first Fetch does.
func (v *Vault) Provision(ctx caddy.Context) error {
	if err := v.provision(ctx); err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	return nil
}

func (v *Vault) provision(ctx caddy.Context) error {
	if err := v.checkLogin(); err != nil {
		return err
	}
	if err := v.resolvePath(); err != nil {
		return err
	}
	client, err := v.connect(ctx)
	if err != nil {
		return err
	}
	method, err := v.method(ctx)
	if err != nil {
		return err
	}
	v.session = newSession(client, method)
	return nil
}

// checkLogin checks that exactly one login method is configured, and completely.
func (v *Vault) checkLogin() error {
	ways := 0
	for _, given := range []bool{v.Token != "", v.AppRole != nil, v.Kubernetes != nil} {
		if given {
			ways++
		}
	}
	const oneOf = "give one of token, approle and kubernetes"
	switch {
	case ways == 0:
		return errors.New("it is not said how to log in: " + oneOf)
	case ways > 1:
		return errors.New("there are several ways to log in: " + oneOf)
	case v.AppRole != nil && (v.AppRole.RoleID == "" || v.AppRole.SecretID == ""):
		return errors.New("approle needs a role ID and a secret ID: write `approle <role_id> " +
			"{file./path/to/secret_id}`")
	case v.Kubernetes != nil && v.Kubernetes.Role == "":
		return errors.New("kubernetes needs a role: write `kubernetes <role>`")
	case v.Token != "" && v.AuthMount != "":
		return errors.New("auth_mount is of no use with a token: remove it")
	case v.Version < 0:
		return fmt.Errorf("version %d is none: give a number above 0, or leave it out for the newest",
			v.Version)
	}
	return nil
}

// resolvePath sets the mount, the path and the member of the secret.
func (v *Vault) resolvePath() (err error) {
	if v.name, err = guest.Resolve("path", v.Path); err != nil {
		return err
	}
	if v.mount, err = guest.Resolve("mount", v.Mount); err != nil {
		return err
	}
	if v.field, err = guest.Resolve("field", v.Field); err != nil {
		return err
	}
	if v.field == "" {
		v.field = defaultField
	}
	v.mount, v.path, err = split(v.name, v.mount)
	return err
}

// split returns the mount of a secret, by default the first part of its name, and its path there.
func split(name, mount string) (_, path string, err error) {
	if mount == "" {
		mount, _, _ = strings.Cut(name, "/")
	}
	path, found := strings.CutPrefix(name, mount+"/")
	if !found || !isPath(path) || !isPath(mount) {
		return "", "", fmt.Errorf("the path %q does not name a mount, here %q, and a secret in it: write it like %s",
			name, mount, examplePath)
	}
	return mount, path, nil
}

func checkAddress(address string) error {
	if err := guest.CheckURL(address, exampleURL); err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	return nil
}

// isPath reports whether no part of a path is empty or made of dots: a client would
// resolve or remove such parts.
func isPath(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// connect returns a client without a token.
func (v *Vault) connect(ctx caddy.Context) (*api.Client, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, errors.New("a VAULT_* variable, or a file that it names, has a mistake: `vault " +
			"status` says which")
	}
	address, err := guest.Resolve("address", v.Address)
	if err != nil {
		return nil, err
	}
	if address != "" {
		config.Address, config.AgentAddress = address, ""
	} else if config.AgentAddress != "" {
		config.Address = config.AgentAddress
	}
	if err := checkAddress(config.Address); err != nil {
		return nil, err
	}
	if guest.Unencrypted(config.Address) {
		ctx.Slogger().Warn("credentials for Vault are sent without encryption: use an address that " +
			"begins with https://")
	}
	ca, err := guest.Resolve("ca", v.CA)
	if err != nil {
		return nil, err
	}
	if ca != "" {
		if err := config.ConfigureTLS(&api.TLSConfig{CACert: ca}); err != nil {
			return nil, fmt.Errorf("reading the ca file %s: %w", ca, err)
		}
	}
	guest.LimitTransport(config.HttpClient.Transport.(*http.Transport))
	// Time limits and retries are the caller's task. The client would wait as long
	// as an answer asks it to.
	config.Timeout, config.Limiter, config.SRVLookup = 0, nil, false
	config.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, nil }

	client, err := api.NewClient(config)
	if err != nil {
		return nil, errors.New("a VAULT_* variable has a mistake: `vault status` says which")
	}
	client.ClearToken()
	// ignores VAULT_WRAP_TTL, which is for interactive use
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	namespace, err := guest.Resolve("namespace", v.Namespace)
	if err != nil {
		return nil, err
	}
	if namespace != "" {
		client.SetNamespace(namespace)
	}
	return client, nil
}

// UnmarshalCaddyfile reads the options.
//
//	vault <mount>/<path> {
//	    address    <url>
//	    mount      <mount>
//	    field      <member>
//	    version    <number>
//	    namespace  <namespace>
//	    ca         <file>
//	    token      <placeholder>
//	    approle    <role_id> <placeholder of the secret_id>
//	    kubernetes <role>
//	    jwt        <file>
//	    auth_mount <mount>
//	}
func (v *Vault) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	var version, jwt string
	var role AppRole
	var pod Kubernetes
	err := guest.Read(d, guest.Name{Word: "path", Example: examplePath, To: &v.Path},
		option.Once("address", option.Text(&v.Address, exampleURL), guest.Literal(&v.Address, checkAddress)),
		option.Once("mount", option.Text(&v.Mount, "secret")),
		option.Once("field", option.Text(&v.Field, "api_key")),
		option.Once("version", option.Text(&version, "3"), func() error { return v.setVersion(version) }),
		option.Once("namespace", option.Text(&v.Namespace, "team/web")),
		option.Once("ca", option.Text(&v.CA, "/etc/caddy/vault-ca.pem")),
		option.Once("token", option.Text(&v.Token, "{file./run/secrets/vault}")),
		option.Once("approle",
			option.Values("{env.VAULT_ROLE_ID} {file./run/secrets/vault_secret_id}", &role.RoleID,
				&role.SecretID)),
		option.Once("kubernetes", option.Text(&pod.Role, "caddy")),
		option.Once("jwt", option.Text(&jwt, defaultJWT)),
		option.Once("auth_mount", option.Text(&v.AuthMount, "k8s-production")),
	)
	if err != nil {
		return err
	}
	if role != (AppRole{}) {
		v.AppRole = &role
	}
	if pod.Role != "" {
		v.Kubernetes = &pod
	}
	if jwt != "" {
		if v.Kubernetes == nil {
			return d.Err("jwt is of no use without kubernetes: remove it, or write `kubernetes <role>`")
		}
		v.Kubernetes.JWT = jwt
	}
	if err := v.checkLogin(); err != nil {
		return d.Errf("vault: %w", err)
	}
	if strings.Contains(v.Path+v.Mount, "{") {
		return nil // known when the configuration is loaded
	}
	if _, _, err := split(v.Path, v.Mount); err != nil {
		return d.Errf("vault: %w", err)
	}
	return nil
}

func (v *Vault) setVersion(text string) (err error) {
	if v.Version, err = strconv.Atoi(text); err != nil || v.Version <= 0 {
		return errors.New("version of vault is no number above 0: leave it out for the newest")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner      = (*Vault)(nil)
	_ caddyfile.Unmarshaler  = (*Vault)(nil)
	_ reputation.SecretStore = (*Vault)(nil)
)
