package sentrycore

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// TestWhatTheCoreSends proves that of an entry's fields only those leave that tell of no visitor.
func TestWhatTheCoreSends(t *testing.T) {
	request := zap.Object("request", zapcore.ObjectMarshalerFunc(func(e zapcore.ObjectEncoder) error {
		t.Error("the request is asked for its contents")
		return nil
	}))
	attrs, status := sendable(
		[]zapcore.Field{request, zap.String("uri", "/a"), zap.Int("status", 502)},
		[]zapcore.Field{
			zap.Error(errors.New("read tcp 192.0.2.1:443->203.0.113.9:50000: i/o timeout")), zap.Any("error", map[string]string{"a": "b"}),
			zap.String("remote_ip", "203.0.113.9"), zap.Namespace("first_error"), zap.Int("status", 404),
		})
	if status != 502 || len(attrs) != 2 {
		t.Fatalf("status %d, fields %v", status, attrs)
	}
	if got := attrs[1].Value.String(); got != "read tcp 192.0.2.1:443->[peer]: i/o timeout" {
		t.Errorf("error %q", got)
	}
}

// TestWhoTheCoreHears proves which loggers' entries are reported when the app does not report itself.
func TestWhoTheCoreHears(t *testing.T) {
	core := &SentryCore{level: zapcore.ErrorLevel}
	for logger, want := range map[string]bool{
		"": true, "tls.obtain": true, "http.log.error": true, "http.log.error.log0": true, "ip_reputation": true, "ip_reputation.lists": true,
		"http.log.access": false, "http.log.access.log0": false, "ip_reputation.sentry": false,
	} {
		for level, enough := range map[zapcore.Level]bool{zapcore.WarnLevel: false, zapcore.ErrorLevel: true, zapcore.FatalLevel: true} {
			if got := core.Check(zapcore.Entry{LoggerName: logger, Level: level}, nil) != nil; got != (want && enough) {
				t.Errorf("%q at %s: %t", logger, level, got)
			}
		}
	}
}

func TestServingPanicked(t *testing.T) {
	const entry = "http: panic serving 203.0.113.9:50000: out of cheese\ngoroutine 7 [running]:\n" +
		"net/http.(*conn).serve.func1()\n\t/go/server.go:1 +0x1\npanic({0x1?, 0x2?})\n\t/go/panic.go:1 +0x1\n" +
		"example.com/a.(*B).C(0xc000, {0x1, 0x2})\n\t/src/b.go:7 +0x1\nmain.main()\n\t/src/main.go:1 +0x2\n"
	got, ok := servingPanicked(entry)
	if want := "a handler panicked: out of cheese\nin example.com/a.(*B).C\nin main.main"; !ok || got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, ok := servingPanicked("http: TLS handshake error from 203.0.113.9:50000: EOF"); ok {
		t.Error("what a visitor did is taken for a panic")
	}
}
