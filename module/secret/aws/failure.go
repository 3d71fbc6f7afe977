package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/internal/guest"
)

// Error codes of AWS by their meaning. Services use different codes for the same error.
var (
	denied = set("AccessDenied", "AccessDeniedException", "AuthorizationError", "NotAuthorized",
		"UnauthorizedOperation",
		"UnauthorizedException", "DecryptionFailure", "InvalidKeyId", "KMSAccessDeniedException")

	badCredentials = set("UnrecognizedClientException", "UnrecognizedClient", "ExpiredToken",
		"ExpiredTokenException",
		"InvalidSignatureException", "InvalidSignature", "SignatureDoesNotMatch", "InvalidClientTokenId", "InvalidAccessKeyId",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature",
		"IncompleteSignatureException", "InvalidIdentityToken", "IDPRejectedClaim", "InvalidToken", "AuthFailure",
		"RequestExpired", "RequestTimeTooSkewed")

	unknown = set("ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound")

	// noCode is the SDK's code for answers of AWS without a code.
	noCode = "UnknownError"

	throttles = retry.IsErrorThrottles(retry.DefaultThrottles)
)

func set(codes ...string) map[string]bool {
	s := make(map[string]bool)
	for _, code := range codes {
		s[code] = true
	}
	return s
}

// The parts of an error that may be logged. The message may not: that of InvalidSignatureException
// quotes the whole request, including the session's token.
var (
	codeForm   = regexp.MustCompile(`^[A-Z][a-z]+[A-Za-z]{0,60}$`)
	actionForm = regexp.MustCompile(`not authorized to perform: ([a-z]{2,20}:[A-Z][A-Za-z]{2,40})\b`)
)

// failure converts an error of a call for a secret. action is the permission that the call needs.
func failure(ctx context.Context, err error, action string) error {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return withoutCode(ctx, err)
	}
	code := answer.ErrorCode()
	switch {
	case denied[code]:
		if found := actionForm.FindStringSubmatch(answer.ErrorMessage()); found != nil {
			action = found[1]
		}
		return fmt.Errorf("%w: AWS answered %s: let the role or user that Caddy runs as do %s",
			reputation.ErrRefused, code, action)
	case badCredentials[code]:
		return fmt.Errorf("%w: AWS answered %s: its credentials do not hold, or no longer: check where Caddy finds them, and its clock",
			reputation.ErrRefused, code)
	case unknown[code]:
		return fmt.Errorf("%w: AWS answered %s: check its name, and the region and account that were asked",
			reputation.ErrUnknown, code)
	case throttles.IsErrorThrottle(err).Bool():
		return guest.Throttled(header(err))
	case code == noCode || !codeForm.MatchString(code):
		return withoutCode(ctx, err)
	}
	return fmt.Errorf("AWS answered %s", code)
}

// withoutCode converts an error without a code of AWS.
func withoutCode(ctx context.Context, err error) error {
	var (
		answer  *smithyhttp.ResponseError
		garbage *smithy.DeserializationError
	)
	status := 0
	if errors.As(err, &answer) && answer.Response != nil {
		status = answer.HTTPStatusCode()
	}
	switch {
	case status == http.StatusTooManyRequests:
		return guest.Throttled(header(err))
	case status != 0 && status != http.StatusOK:
		return fmt.Errorf("no answer, status %d: check that AWS is what answers there", status)
	}
	cause := guest.Cause(ctx, err)
	if errors.Is(cause, guest.ErrUnclear) && errors.As(err, &garbage) {
		return fmt.Errorf("%w: check that AWS is what answers there", reputation.ErrBadAnswer)
	}
	return cause
}

func header(err error) http.Header {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil {
		return answer.Response.Header
	}
	return nil
}

// credentialsFailure converts an error of the search for credentials. Its text is not used, since
// it may come from any provider of credentials.
func credentialsFailure(ctx context.Context, err error) error {
	var answer smithy.APIError
	switch {
	case errors.As(err, &answer) && (denied[answer.ErrorCode()] || badCredentials[answer.ErrorCode()]):
		return failure(ctx, err, "sts:AssumeRole")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errors.New("there are none, or whoever gives them does not answer: give Caddy a role, or set profile; " +
		"`aws sts get-caller-identity` must work for the user that Caddy runs as")
}

// loadFailure converts an error in AWS's files or variables. Its text is not used,
// since some errors quote them.
func loadFailure(ctx context.Context, err error) error {
	var profile config.SharedConfigProfileNotExistError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("reading the configuration of AWS: %w", ctx.Err())
	case errors.As(err, &profile):
		return fmt.Errorf("there is no profile %q in ~/.aws/config or ~/.aws/credentials of the user that Caddy runs as: "+
			"add it, or change profile", profile.Profile)
	}
	return errors.New("the configuration of AWS, in ~/.aws or AWS_* variables, has a mistake: " +
		"`aws sts get-caller-identity` says which, for the user that Caddy runs as")
}
