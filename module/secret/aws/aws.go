// Package aws fetches secrets from AWS: from Secrets Manager, and from the Parameter Store of
// Systems Manager. No other package uses the SDK, which adds five megabytes to a build: leave this
// package out if it is not needed.
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

// Account is the access to AWS. Credentials are found like by all tools of AWS, in this order: the
// environment (`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_WEB_IDENTITY_TOKEN_FILE`
// and `AWS_ROLE_ARN`, which EKS sets), the profile in `~/.aws`, the role of the ECS task or EKS
// pod, the role of the EC2 instance. The search runs when a secret is first fetched, and again
// after AWS has refused the credentials. They are renewed before they expire.
type Account struct {
	// The region of the secret, such as `eu-central-1`. Default: the region in the ARN if the
	// secret is named by one, otherwise `AWS_REGION`, otherwise the region of the profile. Without
	// any of them, the secret cannot be fetched.
	Region string `json:"region,omitempty"`

	// The address of the service's API, such as that of a VPC endpoint without
	// private DNS, or of a fake service in tests. It is not used to get
	// credentials. The secret comes from there, so it should begin with `https://`.
	// Default: `AWS_ENDPOINT_URL`, otherwise the service's address in the region.
	Endpoint string `json:"endpoint,omitempty"`

	// The profile in `~/.aws/config` and `~/.aws/credentials` with the credentials and the region.
	// It has precedence over the environment. Default: `AWS_PROFILE`, otherwise `default`.
	Profile string `json:"profile,omitempty"`
}

func (a *Account) options() []option.Option {
	return []option.Option{
		option.Once("region", option.Text(&a.Region, "eu-central-1"), guest.Literal(&a.Region, checkRegion)),
		option.Once("endpoint", option.Text(&a.Endpoint, exampleEndpoint), guest.Literal(&a.Endpoint, checkEndpoint)),
		option.Once("profile", option.Text(&a.Profile, "production")),
	}
}

const (
	exampleEndpoint = "https://vpce-0123.secretsmanager.eu-central-1.vpce.amazonaws.com"

	// maxAttempts allows one more attempt if the clock of this server is wrong, which the SDK
	// corrects after a refusal. All other retries are the caller's task.
	maxAttempts = 2
	maxBackoff  = 200 * time.Millisecond
)

// callTimeout is how long a single call may take. It matters for calls that outlive
// a Fetch: the SDK continues its search for credentials after the caller has left,
// and all other callers wait for that search.
var callTimeout = 10 * time.Second

var (
	regionForm = regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)+$`)
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9/_+=.@:!-]+$`)
)

// account is an Account with its placeholders resolved, and with the SDK's
// configuration after that was loaded.
type account struct {
	region, endpoint, profile string

	http   *awshttp.BuildableClient
	loaded atomic.Pointer[sdk.Config]
}

// openAccount checks the settings and resolves their placeholders. It makes no request and reads
// none of AWS's files.
func (a Account) openAccount(ctx caddy.Context, name string) (*account, error) {
	client := awshttp.NewBuildableClient().WithTimeout(callTimeout)
	o := &account{http: client.WithTransportOptions(guest.LimitTransport)}
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
			return nil, fmt.Errorf("the secret is in region %s, as its ARN says, but region is %s: remove region",
				parsed.Region, o.region)
		}
		o.region = parsed.Region
	}
	if o.region != "" {
		if err := checkRegion(o.region); err != nil {
			return nil, err
		}
	}
	if o.endpoint == "" {
		return o, nil
	}
	if err := checkEndpoint(o.endpoint); err != nil {
		return nil, err
	}
	if guest.Unencrypted(o.endpoint) {
		ctx.Slogger().Warn("secrets come from AWS without encryption: use an endpoint that begins with https://")
	}
	return o, nil
}

func checkRegion(region string) error {
	if !regionForm.MatchString(region) {
		return fmt.Errorf("region %q is none: use one like eu-central-1", region)
	}
	return nil
}

func checkEndpoint(endpoint string) error {
	if err := guest.CheckURL(endpoint, exampleEndpoint); err != nil {
		return fmt.Errorf("reading the endpoint: %w", err)
	}
	return nil
}

// resolve resolves a setting that is not a secret.
func resolve(what, text string, to *string) (err error) {
	*to, err = guest.Resolve(what, text)
	return err
}

// checkName returns an error unless a secret can have the name. service is the name
// of the service in its ARN.
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
		return fmt.Errorf("%q is not the ARN of a secret here: use one like arn:aws:%s:eu-central-1:…",
			name, service)
	}
	return nil
}

// fetch calls get with the SDK's configuration. Errors name what is fetched.
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
		// The SDK reads credentials in files once. The next Fetch must read them again, since they
		// may have been renewed.
		a.loaded.Store(nil)
	}
	return reputation.Secret{}, fmt.Errorf("fetching %s: %w", what, err)
}

// configuration returns the SDK's configuration, from which clients are created. It fails without
// credentials. The configuration is loaded once, and renews credentials itself.
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
			o.HTTPClient = a.http // its default client has no time limit and could hang forever
		}),
		config.WithLogger(logging.Nop{}), // the default would write to stderr instead of Caddy's log
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

// baseEndpoint returns the endpoint for a client. It must not be set for all clients, since it
// would then also be used to get credentials.
func (a *account) baseEndpoint(inherited *string) *string {
	if a.endpoint == "" {
		return inherited
	}
	return &a.endpoint
}
