package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/internal/guest"
)

// ParameterStore fetches a parameter from the Parameter Store of AWS Systems Manager, decrypted if
// it is a SecureString. Caddy must be allowed `ssm:GetParameter` on it, and `kms:Decrypt` if it is
// encrypted with a key of your own.
//
// With `ssm:ListTagsForResource`, it also reads when the secret expires: at the end of the day in
// the parameter's tag `expires` (2027-03-31, in UTC, or a time as in RFC 3339). With
// `ssm:DescribeParameters`, it also reads a policy of the type `Expiration`, after which AWS
// deletes the parameter. It requests both once an hour, and whenever the value has changed.
//
// Global placeholders, such as `{env.STAGE}`, are resolved when the configuration is loaded.
type ParameterStore struct {
	// The name or the ARN of the parameter, such as `/prod/abuseipdb`. A version or a label may
	// follow after a colon. Without it, the newest version is used. Required.
	Path string `json:"path,omitempty"`

	// The member to use, if the parameter is a JSON object. Default: none, the parameter is plain
	// text. A JSON object is then an error.
	Field string `json:"field,omitempty"`

	Account

	path, field string // resolved
	account     *account
	expiry      *expiryCache
}

// CaddyModule returns the Caddy module information.
func (ParameterStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.secrets.aws_ssm",
		New: func() caddy.Module { return new(ParameterStore) },
	}
}

// Provision checks the settings. It makes no request: the first Fetch does.
func (p *ParameterStore) Provision(ctx caddy.Context) error {
	err := errors.Join(
		resolve("path", p.Path, &p.path),
		resolve("field", p.Field, &p.field),
	)
	if err == nil {
		err = checkName(p.path, "ssm")
	}
	if err == nil {
		p.account, err = p.openAccount(ctx, p.path)
	}
	if err != nil {
		return fmt.Errorf("aws_ssm: %w", err)
	}
	p.expiry = &expiryCache{secret: p.path}
	return nil
}

// Fetch reads the parameter's value and, once an hour, its expiry. See
// reputation.SecretStore for the errors.
func (p *ParameterStore) Fetch(ctx context.Context) (reputation.Secret, error) {
	return p.account.fetch(ctx, p.path+" from AWS Parameter Store", p.fetch)
}

func (p *ParameterStore) fetch(ctx context.Context, cfg sdk.Config) (reputation.Secret, error) {
	client := ssm.NewFromConfig(cfg, func(o *ssm.Options) {
		o.BaseEndpoint = p.account.baseEndpoint(o.BaseEndpoint)
	})
	answer, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: &p.path, WithDecryption: new(true)})
	switch {
	case err != nil:
		return reputation.Secret{}, failure(ctx, err, "ssm:GetParameter")
	case answer.Parameter == nil || answer.Parameter.Value == nil:
		return reputation.Secret{}, fmt.Errorf("%w: it holds no parameter: check that AWS is what answers there",
			reputation.ErrBadAnswer)
	}
	value, err := guest.Value(*answer.Parameter.Value, p.field)
	if err != nil {
		return reputation.Secret{}, err
	}
	secret := reputation.Secret{Value: value}
	p.expiry.of(ctx, strconv.FormatInt(answer.Parameter.Version, 10),
		func(ctx context.Context) (lifetime, error) {
			return p.describe(ctx, client, answer.Parameter.Name)
		}).apply(&secret, time.Now())
	return secret, nil
}

// describe reads when the parameter expires. Each of the two requests may be forbidden. The name is
// the one in the answer, which is without version and label.
func (p *ParameterStore) describe(ctx context.Context, client *ssm.Client, name *string) (lifetime, error) {
	if name == nil {
		name = &p.path
	}
	var e lifetime
	tags, tagErr := client.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{
		ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: name,
	})
	if tagErr == nil {
		for _, tag := range tags.TagList {
			if !e.tag(tag.Key, tag.Value) {
				p.expiry.warn()
			}
		}
	}
	described, err := client.DescribeParameters(ctx, &ssm.DescribeParametersInput{
		ParameterFilters: []types.ParameterStringFilter{{Key: new("Name"), Option: new("Equals"),
			Values: []string{*name}}},
	})
	if err == nil {
		for _, parameter := range described.Parameters {
			e.expires = guest.Earlier(e.expires, expiration(parameter.Policies))
		}
	}
	if tagErr != nil && e.expires.IsZero() {
		return lifetime{}, failure(ctx, tagErr, "ssm:ListTagsForResource")
	}
	return e, nil
}

// expiration returns when policies delete a parameter, or the zero time.
func expiration(policies []types.ParameterInlinePolicy) (at time.Time) {
	for _, policy := range policies {
		var text struct {
			Type       string
			Attributes struct{ Timestamp time.Time }
		}
		if json.Unmarshal([]byte(sdk.ToString(policy.PolicyText)), &text) == nil && text.Type == "Expiration" {
			at = guest.Earlier(at, text.Attributes.Timestamp.UTC())
		}
	}
	return at
}

// UnmarshalCaddyfile reads the options.
//
//	aws_ssm <path or ARN> {
//	    field    <member of the JSON object>
//	    region   <region>
//	    endpoint <url>
//	    profile  <profile>
//	}
func (p *ParameterStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	check := func(path string) error { return checkName(path, "ssm") }
	return guest.Read(d, guest.Name{Word: "path or ARN", Example: "/prod/abuseipdb", To: &p.Path, Check: check},
		append([]option.Option{
			option.Once("field", option.Text(&p.Field, "api_key")),
		}, p.options()...)...)
}

// Interface guards
var (
	_ caddy.Provisioner      = (*ParameterStore)(nil)
	_ caddyfile.Unmarshaler  = (*ParameterStore)(nil)
	_ reputation.SecretStore = (*ParameterStore)(nil)
)
