package redis

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// TestRefusedCallsAreTold: Redis may refuse some calls and answer the others. A user may lack the right to one command,
// or a key may hold the data of another program. Operators see that calls are refused, and all others go on.
func TestRefusedCallsAreTold(t *testing.T) {
	t.Parallel()
	connectAs := func(t *testing.T, server *testenv.RedisServer, rules ...string) (*Client, *logtest.Log) {
		server.ACL("caddy", "s3cret", append([]string{"+@all", "~*", "&*"}, rules...)...)
		log := new(logtest.Log)
		c := open(t, Options{
			Addresses: []string{server.Addr}, Logger: slog.New(slog.NewTextHandler(log, nil)),
			Credentials: func() (string, string, error) { return "caddy", "s3cret", nil },
		})
		awaitUp(t, c, true)
		return c, log
	}
	told := func(t *testing.T, c *Client, log *logtest.Log, cure string) {
		t.Helper()
		eventually(t, "it is told", func() bool {
			return c.Status().Refused != "" && strings.Contains(log.String(), "refuses some calls")
		})
		if text := log.String(); !strings.Contains(text, cure) || strings.Contains(text, "redis is away") || !c.Up() {
			t.Errorf("up %t, and the log says\n%s", c.Up(), text)
		}
	}
	t.Run("a user who lacks a command", func(t *testing.T) {
		t.Parallel()
		c, log := connectAs(t, testenv.Redis(t), "-zadd")
		count(t, c).violate(&loginFailed, 6)
		told(t, c, log, "the permissions of the user")
		exchange(t, c)
	})
	t.Run("a user who may not publish", func(t *testing.T) {
		t.Parallel()
		c, log := connectAs(t, testenv.Redis(t), "-publish")
		told(t, c, log, "PUBLISH")
	})
	t.Run("a key that holds something else", func(t *testing.T) {
		t.Parallel()
		for _, key := range []string{"subjects", "changes", "ends"} {
			server := testenv.Redis(t)
			key = "iprep:v1:{violations}:" + key
			server.CLI("SET", key, "x")
			c, log := connectAs(t, server)
			a := count(t, c)
			a.violate(&loginFailed, 6)
			told(t, c, log, "delete the key")
			server.CLI("DEL", key)
			b := count(t, connect(t, server.Addr))
			// the next batch sends the one before again, of which nothing was added
			a.Add(&trapTouched, violation.Act{Client: netip.MustParseAddr("198.51.100.9"), Share: 1})
			amounts(t, &loginFailed, 6, 6, b)
		}
	})
}
