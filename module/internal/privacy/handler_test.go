package privacy

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// logged returns what a handler with a Policy writes.
func logged(p *Policy, log func(*slog.Logger)) string {
	var out bytes.Buffer
	next := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}})
	log(slog.New(NewHandler(next, p)))
	return strings.TrimSpace(out.String())
}

// late is a value that is asked for its text when an entry is written.
type late struct{}

func (late) LogValue() slog.Value { return slog.StringValue("from 203.0.113.7") }

// object is a value of a type that the handler does not know.
type object struct{ Query, Client string }

var addr = netip.MustParseAddr("203.0.113.7")

func TestHandler(t *testing.T) {
	cut := truncated(t, 24, 48)
	var nobody *url.Error
	for _, tc := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"message", func(l *slog.Logger) { l.Info("203.0.113.7 is gone") }, `msg="203.0.113.0/24 is gone"`},
		{"text", func(l *slog.Logger) { l.Info("m", "client", "203.0.113.7") }, "msg=m client=203.0.113.0/24"},
		{"address", func(l *slog.Logger) { l.Info("m", "client", addr) }, "msg=m client=203.0.113.0/24"},
		{"prefix", func(l *slog.Logger) { l.Info("m", "p", netip.PrefixFrom(addr, 32)) }, "msg=m p=203.0.113.0/24"},
		{"address and port", func(l *slog.Logger) { l.Info("m", "p", netip.AddrPortFrom(addr, 80)) }, "msg=m p=203.0.113.0/24:80"},
		{"address of package net", func(l *slog.Logger) { l.Info("m", "p", net.IPv4(203, 0, 113, 7)) }, "msg=m p=203.0.113.0/24"},
		{"peer", func(l *slog.Logger) { l.Info("m", "p", &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 80}) },
			"msg=m p=203.0.113.0/24:80"},
		{"error", func(l *slog.Logger) { l.Info("m", "error", fmt.Errorf("dial: %w", errors.New("203.0.113.7:80"))) },
			`msg=m error="dial: 203.0.113.0/24:80"`},
		{"error that is none", func(l *slog.Logger) { l.Info("m", "error", error(nobody)) }, "msg=m error=<nil>"},
		{"texts", func(l *slog.Logger) { l.Info("m", "at", []string{"203.0.113.7", "x"}) }, `msg=m at="[203.0.113.0/24 x]"`},
		{"object", func(l *slog.Logger) { l.Info("m", "o", object{"a&203.0.113.7", "b"}) },
			`msg=m o="{\"Query\":\"a&203.0.113.0/24\",\"Client\":\"b\"}"`},
		{"object without", func(l *slog.Logger) { l.Info("m", "o", object{"a", "b"}) }, `msg=m o="{Query:a Client:b}"`},
		{"late", func(l *slog.Logger) { l.Info("m", "v", late{}) }, `msg=m v="from 203.0.113.0/24"`},
		{"group", func(l *slog.Logger) { l.Info("m", slog.Group("g", "client", addr)) }, "msg=m g.client=203.0.113.0/24"},
		{"with", func(l *slog.Logger) { l.With("client", addr).WithGroup("g").Info("m", "b", addr) },
			"msg=m client=203.0.113.0/24 g.b=203.0.113.0/24"},
		{"others", func(l *slog.Logger) {
			l.Info("m", "n", 1, "d", time.Second, "b", true, "t", time.Unix(0, 0).UTC(), "nil", nil)
		}, "msg=m n=1 d=1s b=true t=1970-01-01T00:00:00.000Z nil=<nil>"},
	} {
		if diff := cmp.Diff(tc.want, logged(cut, tc.log)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestHandlerIsNotThereWhenOff(t *testing.T) {
	next := slog.DiscardHandler
	if got := NewHandler(next, nil); got != next {
		t.Errorf("it is %T", got)
	}
}
