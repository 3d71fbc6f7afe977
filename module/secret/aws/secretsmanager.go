package aws

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/internal/guest"
)

func init() {
	caddy.RegisterModule(SecretsManager{})
	caddy.RegisterModule(ParameterStore{})
}

// SecretsManager fetches a secret from AWS Secrets Manager. Caddy must be allowed
// `secretsmanager:GetSecretValue` on it, and `kms:Decrypt` if it is encrypted with
// a key of your own.
//
// With `secretsmanager:DescribeSecret`, it also reads when the secret expires: at the end of the
// day in its tag `expires` (2027-03-31, in UTC, or a time as in RFC 3339) or, with rotation, at the
// next rotation. It requests that once an hour, and whenever the value has changed.
//
// Global placeholders, such as `{env.STAGE}`, are resolved when the configuration is loaded.
type SecretsManager struct {
	// The name or the ARN of the secret. An ARN is needed for secrets of another account. Required.
	Name string `json:"name,omitempty"`

	// The member to use, if the secret is a JSON object. The console of AWS stores secrets in this
	// form. Default: none, the secret is plain text. A JSON object is then an error.
	Field string `json:"field,omitempty"`

	// The version of the secret to use: `AWSCURRENT`, `AWSPREVIOUS`, or a stage of your own.
	// Default: `AWSCURRENT`.
	VersionStage string `json:"version_stage,omitempty"`

	Account

	name, field, stage string // resolved
	account            *account
	expiry             *expiryCache
}

// CaddyModule returns the Caddy module information.
func (SecretsManager) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.secrets.aws_secretsmanager",
		New: func() caddy.Module { return new(SecretsManager) },
	}
}

// Provision checks the settings. It makes no request: the first Fetch does.
func (s *SecretsManager) Provision(ctx caddy.Context) error {
	err := errors.Join(
		resolve("name", s.Name, &s.name),
		resolve("field", s.Field, &s.field),
		resolve("version_stage", s.VersionStage, &s.stage),
	)
	if err == nil {
		err = checkName(s.name, "secretsmanager")
	}
	if err == nil {
		s.account, err = s.openAccount(ctx, s.name)
	}
	if err != nil {
		return fmt.Errorf("aws_secretsmanager: %w", err)
	}
	s.expiry = &expiryCache{secret: s.name}
	return nil
}

// Fetch reads the secret's value and, once an hour, its expiry. See
// reputation.SecretStore for the errors.
func (s *SecretsManager) Fetch(ctx context.Context) (reputation.Secret, error) {
	return s.account.fetch(ctx, s.name+" from AWS Secrets Manager", s.fetch)
}

func (s *SecretsManager) fetch(ctx context.Context, cfg sdk.Config) (reputation.Secret, error) {
	client := secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		o.BaseEndpoint = s.account.baseEndpoint(o.BaseEndpoint)
	})
	question := &secretsmanager.GetSecretValueInput{SecretId: &s.name}
	if s.stage != "" {
		question.VersionStage = &s.stage
	}
	answer, err := client.GetSecretValue(ctx, question)
	switch {
	case err != nil:
		return reputation.Secret{}, failure(ctx, err, "secretsmanager:GetSecretValue")
	case answer.SecretString == nil && answer.SecretBinary != nil:
		return reputation.Secret{}, fmt.Errorf("%w: the secret is binary: store it as text, with "+
			"--secret-string instead of "+
			"--secret-binary", reputation.ErrUnknown)
	case answer.SecretString == nil:
		return reputation.Secret{}, fmt.Errorf("%w: it holds no secret: check that AWS is what answers there",
			reputation.ErrBadAnswer)
	}
	value, err := guest.Value(*answer.SecretString, s.field)
	if err != nil {
		return reputation.Secret{}, err
	}
	secret := reputation.Secret{Value: value}
	s.expiry.of(ctx, sdk.ToString(answer.VersionId), func(ctx context.Context) (lifetime, error) {
		return s.describe(ctx, client)
	}).apply(&secret, time.Now())
	return secret, nil
}

// describe reads when the secret expires.
func (s *SecretsManager) describe(ctx context.Context, client *secretsmanager.Client) (lifetime, error) {
	answer, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &s.name})
	if err != nil {
		return lifetime{}, failure(ctx, err, "secretsmanager:DescribeSecret")
	}
	var e lifetime
	for _, tag := range answer.Tags {
		if !e.tag(tag.Key, tag.Value) {
			s.expiry.warn()
		}
	}
	if sdk.ToBool(answer.RotationEnabled) {
		e.rotates = sdk.ToTime(answer.NextRotationDate)
	}
	return e, nil
}

// UnmarshalCaddyfile reads the options.
//
//	aws_secretsmanager <name or ARN> {
//	    field         <member of the JSON object>
//	    version_stage <stage>
//	    region        <region>
//	    endpoint      <url>
//	    profile       <profile>
//	}
func (s *SecretsManager) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	check := func(name string) error { return checkName(name, "secretsmanager") }
	return guest.Read(d, guest.Name{Word: "name or ARN", Example: "prod/abuseipdb", To: &s.Name, Check: check},
		append([]option.Option{
			option.Once("field", option.Text(&s.Field, "api_key")),
			option.Once("version_stage", option.Text(&s.VersionStage, "AWSPREVIOUS")),
		}, s.options()...)...)
}

// Interface guards
var (
	_ caddy.Provisioner      = (*SecretsManager)(nil)
	_ caddyfile.Unmarshaler  = (*SecretsManager)(nil)
	_ reputation.SecretStore = (*SecretsManager)(nil)
)
