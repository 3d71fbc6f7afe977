package sentry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	sdk "github.com/getsentry/sentry-go"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
)

// sendTimeout is how long the delivery of one report may take.
const sendTimeout = 5 * time.Second

const (
	// maxHeader is the size of an answer's header. The SDK reads pauses from it.
	maxHeader = 64 << 10

	// maxPause is how long Sentry is not asked because it wants a pause, of any length.
	maxPause = 24 * time.Hour
)

var (
	errNoDSN  = errors.New("the DSN is not known yet")
	errPaused = errors.New("sentry asked for a pause")
)

// CheckDSN reports whether a DSN cannot be one. The error does not repeat it.
func CheckDSN(dsn string) error {
	_, err := sdk.NewDsn(dsn)
	if err == nil && dsn != "" {
		return nil
	}
	why := ""
	if malformed := (*sdk.DsnParseError)(nil); errors.As(err, &malformed) && !strings.Contains(malformed.Message, ":") {
		why = " (" + malformed.Message + ")" // what follows a colon is from the DSN
	}
	return fmt.Errorf("the DSN of sentry is not valid%s: copy it from the project's settings, Client Keys (DSN), "+
		"where it looks like https://<key>@<host>/<project>", why)
}

// sender delivers one report after the other. It belongs to one goroutine.
type sender struct {
	ctx     context.Context
	options Options
	http    *http.Transport

	dsn    string
	client *sdk.Client // of the DSN; nil before the first report

	result error     // of the request that is under way
	paused time.Time // when the pause began; zero: there is none
}

func newSender(ctx context.Context, o Options) *sender {
	return &sender{ctx: ctx, options: o, http: &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxConnsPerHost: 1, IdleConnTimeout: 30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}}
}

func (s *sender) close() {
	if s.client != nil {
		s.client.Close()
	}
	s.http.CloseIdleConnections()
}

// send returns nil if Sentry took the report.
func (s *sender) send(event *sdk.Event) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	dsn, ok := s.options.DSN()
	if !ok {
		return errNoDSN
	}
	if err := s.use(dsn); err != nil {
		return err
	}
	s.result = errPaused // stays if the SDK makes no request, because of a pause
	s.client.CaptureEvent(event, nil, nil)
	switch {
	case !errors.Is(s.result, errPaused):
		s.paused = time.Time{}
	case s.paused.IsZero():
		s.paused = time.Now()
	case time.Since(s.paused) > maxPause:
		s.client.Close()
		s.client, s.paused = nil, time.Time{} // the next one does not know of the pause
	}
	return s.result
}

// use creates the client of a DSN.
func (s *sender) use(dsn string) error {
	if s.client != nil && s.dsn == dsn {
		return nil
	}
	if err := CheckDSN(dsn); err != nil {
		return err
	}
	client, err := sdk.NewClient(sdk.ClientOptions{
		Dsn:         dsn,
		Release:     s.options.Release,
		Environment: s.options.Environment,
		ServerName:  s.options.ServerName,
		BeforeSend:  s.options.beforeSend,
		Transport:   bound{sdk.NewHTTPSyncTransport(), s.ctx},
		HTTPClient: &http.Client{
			Transport:     observed{s},
			Timeout:       sendTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Integrations:         func([]sdk.Integration) []sdk.Integration { return nil }, // they add modules, environment, arguments
		DisableClientReports: true,
	})
	if err != nil {
		return errors.New("the SDK of sentry refuses the DSN") // its own error may contain the DSN
	}
	if s.client != nil {
		s.client.Close()
	}
	s.client, s.dsn = client, dsn
	return nil
}

// bound ends requests with a context. Sending is synchronous, in the goroutine of the Reporter: the SDK's own
// queue cannot be closed within a time limit.
type bound struct {
	*sdk.HTTPSyncTransport
	ctx context.Context
}

// SendEvent implements sdk.Transport.
func (b bound) SendEvent(event *sdk.Event) { b.SendEventWithContext(b.ctx, event) }

// observed records whether a report was taken, which the SDK does not return.
type observed struct{ *sender }

// RoundTrip implements http.RoundTripper.
func (o observed) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.http.RoundTrip(req)
	switch {
	case err != nil:
		o.result = fmt.Errorf("sending: %w", foreign.Error(err))
	case resp.StatusCode == http.StatusSwitchingProtocols:
		o.result = errors.New("sentry answered with status 101")
		_ = resp.Body.Close() // it is the bare connection: the SDK's reading of it would not end with the context
		resp.Body = http.NoBody
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		o.result = fmt.Errorf("sentry answered with status %d", resp.StatusCode)
	default:
		o.result = nil
	}
	return resp, err
}
