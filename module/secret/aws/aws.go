// Package aws fetches secrets from AWS: from Secrets Manager, and from the Parameter Store of Systems Manager. It is the one
// package that knows the SDK, which adds five megabytes to a build: leave it out where it is not needed.
package aws

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/smithy-go/logging"
	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/internal/guest"
)

// Account is how AWS is reached. The credentials are those that all tools of AWS find, in this order: the environment
// (`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`, which EKS sets), the
// profile in `~/.aws`, the role of the ECS task or EKS pod, the role of the EC2 instance. They are looked for when a secret
// is first fetched, renewed before they end, and looked for anew after AWS has refused them.
type Account struct {
	// The region that the secret is kept in, such as `eu-central-1`. Default: the region in the ARN, if the secret is named
	// by one, else `AWS_REGION`, else what the profile says. Without any of them, the secret cannot be fetched.
	Region string `json:"region,omitempty"`

	// The address of the service's API, such as that of a VPC endpoint without private DNS, or of a stand-in in tests. Where
	// credentials come from is not changed by it. The secret comes from there, so it should begin with `https://`. Default:
	// the service's address in the region, or what `AWS_ENDPOINT_URL` says.
	Endpoint string `json:"endpoint,omitempty"`

	// The profile in `~/.aws/config` and `~/.aws/credentials` to take credentials and region from; it wins over the
	// environment. Default: `AWS_PROFILE`, else `default`.
	Profile string `json:"profile,omitempty"`
}

func (a *Account) options() []option.Option {
	return []option.Option{
		option.Once("region", option.Text(&a.Region, "eu-central-1")),
		option.Once("endpoint", option.Text(&a.Endpoint, exampleEndpoint)),
		option.Once("profile", option.Text(&a.Profile, "production")),
	}
}

const (
	exampleEndpoint = "https://vpce-0123.secretsmanager.eu-central-1.vpce.amazonaws.com"

	// maxAttempts leaves one try for when the clock of this server is wrong, which the SDK learns from a refusal. All other
	// repetition is the caller's business.
	maxAttempts = 2
	maxBackoff  = 200 * time.Millisecond
)

// callTimeout is how long a single call may take. It is for calls that outlive a Fetch: the SDK goes on looking for
// credentials when nobody waits for them any more, and until that has ended, everybody who needs some waits for it.
var callTimeout = 10 * time.Second

var (
	regionForm = regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)+$`)
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9/_+=.@:!-]+$`)
)

// account is an Account with its placeholders resolved, and the SDK's configuration once it was loaded.
type account struct {
	region, endpoint, profile string

	http   *awshttp.BuildableClient
	loaded atomic.Pointer[sdk.Config]
}

// openAccount checks the settings and resolves their placeholders. It calls nobody and reads none of AWS's files.
func (a Account) openAccount(ctx caddy.Context, name string) (*account, error) {
	o := &account{http: awshttp.NewBuildableClient().WithTimeout(callTimeout).WithTransportOptions(guest.Bound)}
	err := errors.Join(
		resolve("region", a.Region, &o.region),
		resolve("endpoint", a.Endpoint, &o.endpoint),
		resolve("profile", a.Profile, &o.profile),
	)
	if err != nil {
		return nil, err
	}
	if parsed, err := arn.Parse(name); err == nil {
		if o.region != "" && parsed.Region != o.region {
			return nil, fmt.Errorf("the secret is in region %s, as its ARN says, but region is %s: remove region", parsed.Region, o.region)
		}
		o.region = parsed.Region
	}
	if o.region != "" && !regionForm.MatchString(o.region) {
		return nil, fmt.Errorf("region %q is none: use one like eu-central-1", o.region)
	}
	if o.endpoint == "" {
		return o, nil
	}
	if err := guest.CheckURL(o.endpoint, exampleEndpoint); err != nil {
		return nil, fmt.Errorf("reading the endpoint: %w", err)
	}
	if guest.Plain(o.endpoint) {
		ctx.Slogger().Warn("secrets come from AWS without encryption: use an endpoint that begins with https://")
	}
	return o, nil
}

// resolve is for settings that are not secret themselves.
func resolve(what, text string, to *string) (err error) {
	*to, err = guest.Resolve(what, text)
	return err
}

// checkName reports whether a secret can be named like this; service is what its ARN would say.
func checkName(name, service string) error {
	if name == "" {
		return errors.New("no secret is named: say which one to fetch")
	}
	if !nameForm.MatchString(name) {
		return fmt.Errorf("the name %q has characters that no name has: use letters, digits and /_+=.@!-", name)
	}
	if !strings.HasPrefix(name, "arn:") {
		return nil
	}
	parsed, err := arn.Parse(name)
	if err != nil || parsed.Service != service || parsed.Region == "" {
		return fmt.Errorf("%q is not the ARN of a secret here: use one like arn:aws:%s:eu-central-1:…", name, service)
	}
	return nil
}

// fetch makes the calls of one Fetch with the SDK's configuration; what is what is fetched, for errors.
func (a *account) fetch(ctx context.Context, what string,
	get func(context.Context, sdk.Config) (reputation.Secret, error),
) (reputation.Secret, error) {
	var secret reputation.Secret
	cfg, err := a.configuration(ctx)
	if err == nil {
		secret, err = get(ctx, *cfg)
	}
	if err == nil {
		return secret, nil
	}
	if errors.Is(err, reputation.ErrRefused) {
		// Credentials in files are read only once; by the next Fetch, somebody may have renewed them.
		a.loaded.Store(nil)
	}
	return reputation.Secret{}, fmt.Errorf("fetching %s: %w", what, err)
}

// configuration returns what clients of the SDK are made of, once it is certain that there are credentials. What was loaded
// is kept: it renews credentials itself.
func (a *account) configuration(ctx context.Context) (*sdk.Config, error) {
	cfg := a.loaded.Load()
	if cfg == nil {
		found, err := a.load(ctx)
		if err != nil {
			return nil, err
		}
		a.loaded.CompareAndSwap(nil, found)
		cfg = found
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("getting credentials for AWS: %w", credentialsFailure(ctx, err))
	}
	return cfg, nil
}

func (a *account) load(ctx context.Context) (*sdk.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(a.http),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) {
			o.HTTPClient = a.http // or it would use one without any limit of time, and never come back
		}),
		config.WithLogger(logging.Nop{}), // it would write to stderr, past Caddy's log
		config.WithRetryer(func() sdk.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff
			})
		}),
	}
	if a.region != "" {
		options = append(options, config.WithRegion(a.region))
	}
	if a.profile != "" {
		options = append(options, config.WithSharedConfigProfile(a.profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, loadFailure(ctx, err)
	}
	if cfg.Region == "" {
		return nil, errors.New("no region is known: set region, or AWS_REGION where Caddy runs")
	}
	return &cfg, nil
}

// baseEndpoint is what to give to a client. It must not be set for all of them, since those that get credentials would then
// ask for them there.
func (a *account) baseEndpoint(inherited *string) *string {
	if a.endpoint == "" {
		return inherited
	}
	return &a.endpoint
}
