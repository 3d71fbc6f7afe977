// Package redis stores what instances share: reports on subjects, counts of quotas and limits, and
// replicated maps. Nothing depends on it: while Redis is unavailable, every call returns ErrUnavailable at
// once.
package redis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// Options configure a Client. Addresses are required.
type Options struct {
	// Addresses are host:port, or the path of a Unix socket. A Cluster, or Sentinels, may have several.
	Addresses []string

	// Cluster means that the addresses are nodes of a Redis Cluster, or its configuration endpoint.
	Cluster bool

	// Master is the name of the master. If it is set, the addresses are Sentinels. Default: none.
	Master string

	// Credentials returns the user, empty for the default user, and the password, empty for none.
	// It is called for every new connection, so that a new password is used without a restart.
	Credentials func() (user, password string, err error)

	// SentinelUsername and SentinelPassword are the login of the Sentinels themselves.
	SentinelUsername, SentinelPassword string

	// Database is the number of the database. A Cluster has 0 only.
	Database int

	// TLS is the TLS configuration. Nil means plain TCP.
	TLS *tls.Config

	// Prefix begins every key and channel, so that applications can share a server. Default: iprep.
	Prefix string

	// Timeout is the time limit of one exchange, with the handshake of a new connection. Default:
	// 250ms.
	Timeout time.Duration

	// PoolSize is the maximum number of connections per server. Default: 10 per processor.
	PoolSize int

	// Logger receives messages for the operator. Default: slog.Default().
	Logger *slog.Logger

	// Observe, if set, is called with every outcome. It must be quick.
	Observe func(Result)

	// Notify, if set, is called when Redis becomes available, and with the reason whenever it is
	// found unavailable. It is called with a lock held: it must be quick and must not call this
	// package.
	Notify func(up bool, why string)
}

// The defaults of Options.
const (
	DefaultPrefix  = "iprep"
	DefaultTimeout = 250 * time.Millisecond
)

// Client is a client of one Redis: a server, a Cluster, or the master that Sentinels name. It is
// safe for concurrent use.
type Client struct {
	options Options
	rdb     goredis.UniversalClient // created by Start, since the library connects as soon as it exists
	reload  func(context.Context)   // reloads the topology of a Cluster
	prefix  string
	token   string // identifies this instance
	timeout time.Duration
	log     *slog.Logger
	observe func(Result)

	maxEntries int // per map; tests set it

	now   func() time.Time // this instance's clock; tests set it
	clock atomic.Pointer[clock]
	conns connections

	up     atomic.Bool
	health health
	stop   context.CancelFunc
	done   sync.WaitGroup
}

var (
	_ ledger.Store = (*Client)(nil)
	_ limit.Store  = (*Client)(nil)
)

// schema is the version of the layout of keys and values. Instances with different versions share
// nothing.
const schema = "v1"

// Open returns a client without connecting. Start connects, in the background. Until then, and
// while Redis is unavailable, calls return ErrUnavailable.
func Open(o Options) (*Client, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Observe == nil {
		o.Observe = func(Result) {}
	}
	if o.Notify == nil {
		o.Notify = func(bool, string) {}
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	c := &Client{
		options: o,
		prefix:  o.Prefix + ":" + schema + ":",
		token:   hex.EncodeToString(random[:]),
		timeout: o.Timeout,
		log:     o.Logger,
		observe: o.Observe,
		now:     time.Now,

		maxEntries: replica.MaxEntries,
	}
	c.health.init()
	return c, nil
}

// Check returns an error if the settings cannot work.
func (o *Options) Check() error {
	switch {
	case len(o.Addresses) == 0:
		return errors.New("no address is given: name one, such as redis.example.com:6379")
	case o.Cluster && o.Master != "":
		return errors.New("cluster and sentinel exclude each other: a Cluster promotes replicas by itself, remove one")
	case o.Cluster && o.Database != 0:
		return fmt.Errorf("database %d: a Redis Cluster has database 0 only", o.Database)
	case slices.ContainsFunc(o.Addresses, isURL):
		return errors.New("an address is a URL, or holds a user: write host:port, " +
			"and what else the URL holds as `username`, `password`, `database` and `tls`")
	case slices.ContainsFunc(o.Addresses, isUndialable):
		i := slices.IndexFunc(o.Addresses, isUndialable)
		return fmt.Errorf("address %q is neither host:port, with a port from 1 to 65535, nor the path of a Unix socket",
			o.Addresses[i])
	case len(o.Addresses) > 1 && !o.Cluster && o.Master == "":
		return errors.New("several addresses are those of a Cluster or of Sentinels: " +
			"write `cluster` or `sentinel <master>`, or keep one")
	}
	return nil
}

// isURL reports whether an address is a URL. It may contain a password, so errors do not repeat it.
func isURL(address string) bool {
	return strings.Contains(address, "://") || strings.Contains(address, "@")
}

// isUndialable reports whether an address cannot be dialled. Placeholders are not resolved yet when a
// Caddyfile is adapted.
func isUndialable(address string) bool {
	if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "unix//") || strings.Contains(address, "{") {
		return false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address == "" || strings.Contains(address, ":") // otherwise a host, with the default port
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host == "" || err != nil || n == 0
}

// connect returns the library's client, and a function that reloads the topology of a Cluster. The
// library alone would use a lost master for a minute.
func (o *Options) connect(conns *connections) (goredis.UniversalClient, func(context.Context)) {
	if !o.Cluster {
		return goredis.NewUniversalClient(o.universal(conns)), func(context.Context) {}
	}
	options := o.universal(conns).Cluster()
	options.ClusterStateReloadInterval = clusterReload
	cluster := goredis.NewClusterClient(options)
	return cluster, cluster.ReloadState
}

// clusterReload is how often the topology of a Cluster is reloaded even if nothing fails.
const clusterReload = 10 * time.Second

// universal returns the options of the library. They differ from its defaults mostly because no
// request waits for Redis as long as the library would.
func (o *Options) universal(conns *connections) *goredis.UniversalOptions {
	useLogger(o.Logger)
	u := &goredis.UniversalOptions{
		Addrs:            o.Addresses,
		IsClusterMode:    o.Cluster,
		MasterName:       o.Master,
		SentinelUsername: o.SentinelUsername,
		SentinelPassword: o.SentinelPassword,
		DB:               o.Database,
		TLSConfig:        o.TLS,
		PoolSize:         o.PoolSize,
		Dialer:           conns.dialer(o.Timeout, o.TLS),

		// a server may refuse names, and works all the same; with ClientName, connecting would fail
		OnConnect: func(ctx context.Context, conn *goredis.Conn) error {
			_ = conn.ClientSetName(ctx, "caddy-ip-reputation").Err()
			return nil
		},

		// without these, a refused connection takes 1.7 s to fail, and a silent server outlasts the
		// context's deadline
		ContextTimeoutEnabled: true,
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           o.Timeout,
		ReadTimeout:           o.Timeout,
		WriteTimeout:          o.Timeout,
		PoolTimeout:           o.Timeout / 5, // an exhausted pool means that Redis is slow: more callers do not help

		// two idle connections; each is renewed now and then, to follow load balancers and new
		// passwords
		MinIdleConns:          2,
		ConnMaxIdleTime:       5 * time.Minute,
		ConnMaxLifetime:       30 * time.Minute,
		ConnMaxLifetimeJitter: 5 * time.Minute,

		// disabled: a second pool that is not used here, and a command that servers other than
		// Redis count as an error
		PipelinePoolSize:         -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if credentials := o.Credentials; credentials != nil {
		u.CredentialsProviderContext = func(context.Context) (string, string, error) {
			user, password, err := credentials()
			if err != nil {
				err = fmt.Errorf("%w: %w", errCredentials, err)
			}
			return user, password, err
		}
	}
	return u
}

// Start starts the background work and returns at once. A second call, or a call after Close, does
// nothing.
func (c *Client) Start() {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	if c.stop != nil || c.health.closed {
		return
	}
	c.rdb, c.reload = c.options.connect(&c.conns)
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.done.Go(func() { c.monitor(ctx) })
}

// Close closes the connections. Running calls fail, later ones return ErrUnavailable.
func (c *Client) Close() error {
	c.health.mu.Lock()
	c.health.closed = true
	stop := c.stop
	c.health.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	err := c.rdb.Close() // ends the prober's calls
	c.done.Wait()
	c.up.Store(false)
	if err != nil {
		return fmt.Errorf("closing the connections to Redis: %w", err)
	}
	return nil
}

// run runs a script within Timeout. It fails at once if Redis is unavailable.
func (c *Client) run(ctx context.Context, script *goredis.Script, keys []string, args ...any) (any, error) {
	var answer any
	err := c.do(ctx, func(ctx context.Context) (err error) {
		answer, err = script.Run(ctx, c.rdb, keys, args...).Result()
		return err
	})
	return answer, err
}

// do makes one exchange within Timeout. It fails at once if Redis is unavailable. A missing key is
// not an error.
func (c *Client) do(ctx context.Context, exchange func(context.Context) error) error {
	if !c.up.Load() {
		c.observe(Skipped)
		return ErrUnavailable
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := foreign.Error(exchange(bounded)) // a server, or what stands in its place, answers what it likes
	if errors.Is(err, goredis.Nil) {
		err = nil
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // the caller has cancelled: nothing is known about Redis
	}
	c.record(err, false)
	if err != nil {
		return fmt.Errorf("asking Redis: %w", err)
	}
	return nil
}

// key returns the full name of a key or channel. In a Cluster, the text in braces selects the
// server.
func (c *Client) key(name string) string { return c.prefix + name }
