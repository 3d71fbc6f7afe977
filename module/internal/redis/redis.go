// Package redis is the memory that instances share: records of subjects, counts of quotas and limits, and the
// replicated maps on which they agree. Losing it costs nothing but sharing: while it is away, every call returns
// ErrAway at once.
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

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// Options say where Redis is and how to talk to it. Addresses are required.
type Options struct {
	// Addresses are host:port, or the path of a Unix socket. Of a Cluster, or of Sentinels, several.
	Addresses []string

	// Cluster says that the addresses are nodes of a Redis Cluster, or its configuration endpoint.
	Cluster bool

	// Master is the name of the master that the addresses, which are Sentinels then, keep watch over. Default: none.
	Master string

	// Credentials returns the user, empty for the default user, and the password, empty for none. It is asked for
	// every new connection, so that a password that has changed is used without a restart.
	Credentials func() (user, password string, err error)

	// SentinelUsername and SentinelPassword are what the Sentinels themselves ask for.
	SentinelUsername, SentinelPassword string

	// Database is the number of the database. A Cluster has 0 only.
	Database int

	// TLS is how to secure connections. Nil is plain TCP.
	TLS *tls.Config

	// Prefix begins every key and channel, so that applications can share a server. Default: iprep.
	Prefix string

	// Timeout bounds one exchange, a new connection's handshake included. Requests never wait that long. Default: 250ms.
	Timeout time.Duration

	// PoolSize is how many connections to a server there may be. Default: 10 for each processor.
	PoolSize int

	// Logger gets what an operator must know. Default: slog.Default().
	Logger *slog.Logger

	// Observe, when set, is called with every outcome. It must be quick.
	Observe func(Result)

	// Notify, when set, is called when Redis begins to answer, and with the reason each time it turns out not to. It is
	// called with a lock held: it must be quick, and call nothing here.
	Notify func(up bool, why string)
}

// The defaults of Options.
const (
	DefaultPrefix  = "iprep"
	DefaultTimeout = 250 * time.Millisecond
)

// Client talks to one Redis: a server, a Cluster, or whichever server Sentinels say is the master. It is safe for
// concurrent use.
type Client struct {
	options Options
	rdb     goredis.UniversalClient // made by Start: the library dials as soon as there is a pool
	reload  func(context.Context)   // of what is known of a Cluster
	prefix  string
	token   string // by which other instances know this one
	timeout time.Duration
	log     *slog.Logger
	observe func(Result)

	maxEntries int // of one map; tests set it

	up     atomic.Bool
	health health
	stop   context.CancelFunc
	done   sync.WaitGroup
}

var (
	_ quota.Store = (*Client)(nil)
	_ limit.Store = (*Client)(nil)
)

// schema is the version of the layout of keys and values. Instances of different versions do not see each other.
const schema = "v1"

// Open returns a client that has not called anybody yet: Start does, in the background. Until then, and whenever
// Redis does not answer, calls return ErrAway.
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
	_, _ = rand.Read(random[:]) // it never fails
	c := &Client{
		options: o,
		prefix:  o.Prefix + ":" + schema + ":",
		token:   hex.EncodeToString(random[:]),
		timeout: o.Timeout,
		log:     o.Logger,
		observe: o.Observe,

		maxEntries: replica.MaxEntries,
	}
	c.health.init()
	return c, nil
}

// Check reports settings that cannot work.
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
	case slices.ContainsFunc(o.Addresses, isNowhere):
		i := slices.IndexFunc(o.Addresses, isNowhere)
		return fmt.Errorf("address %q is neither host:port, with a port from 1 to 65535, nor the path of a Unix socket",
			o.Addresses[i])
	case len(o.Addresses) > 1 && !o.Cluster && o.Master == "":
		return errors.New("several addresses are those of a Cluster or of Sentinels: " +
			"write `cluster` or `sentinel <master>`, or keep one")
	}
	return nil
}

// isURL reports whether an address is more than that. It may hold a password, and is not repeated.
func isURL(address string) bool {
	return strings.Contains(address, "://") || strings.Contains(address, "@")
}

// isNowhere reports whether an address cannot be dialled. Placeholders are not resolved yet in what a Caddyfile is
// read from.
func isNowhere(address string) bool {
	if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "unix//") || strings.Contains(address, "{") {
		return false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address == "" || strings.Contains(address, ":") // else a host, which has the usual port
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host == "" || err != nil || n == 0
}

// connect returns the library's client, and what makes it look at a Cluster anew: by itself it goes on asking a
// master that is gone for a minute.
func (o *Options) connect() (goredis.UniversalClient, func(context.Context)) {
	if !o.Cluster {
		return goredis.NewUniversalClient(o.universal()), func(context.Context) {}
	}
	options := o.universal().Cluster()
	options.ClusterStateReloadInterval = clusterReload
	cluster := goredis.NewClusterClient(options)
	return cluster, cluster.ReloadState
}

// clusterReload is how often a Cluster is looked at although nothing fails.
const clusterReload = 10 * time.Second

// universal returns the options of the library. Each differs from its default for a reason: answers from Redis are a
// help, for which nobody waits as long as the library would.
func (o *Options) universal() *goredis.UniversalOptions {
	useLogger(o.Logger)
	u := &goredis.UniversalOptions{
		Addrs:            o.Addresses,
		IsClusterMode:    o.Cluster,
		MasterName:       o.Master,
		SentinelUsername: o.SentinelUsername,
		SentinelPassword: o.SentinelPassword,
		DB:               o.Database,
		TLSConfig:        o.TLS,
		ClientName:       "caddy-ip-reputation",
		PoolSize:         o.PoolSize,

		// without these a refused connection takes 1.7 s to fail, and a silent server ignores the deadline of the context
		ContextTimeoutEnabled: true,
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           o.Timeout,
		ReadTimeout:           o.Timeout,
		WriteTimeout:          o.Timeout,
		PoolTimeout:           o.Timeout / 5, // a pool that is used up means that Redis is slow: more callers do not help

		// two connections at hand; each is renewed now and then, so that load balancers and changed passwords are followed
		MinIdleConns:          2,
		ConnMaxIdleTime:       5 * time.Minute,
		ConnMaxLifetime:       30 * time.Minute,
		ConnMaxLifetimeJitter: 5 * time.Minute,

		// a second pool that nobody here uses, and a probe that servers other than Redis count as an error
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

// Start begins to look after the connection. It returns at once. Starting again, or after Close, does nothing.
func (c *Client) Start() {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	if c.stop != nil || c.health.closed {
		return
	}
	c.rdb, c.reload = c.options.connect()
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.done.Go(func() { c.attend(ctx) })
}

// Close ends the connections. Calls under way fail, later ones return ErrAway.
func (c *Client) Close() error {
	c.health.mu.Lock()
	c.health.closed = true
	stop := c.stop
	c.health.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	err := c.rdb.Close() // ends what the prober waits for
	c.done.Wait()
	c.up.Store(false)
	if err != nil {
		return fmt.Errorf("closing the connections to Redis: %w", err)
	}
	return nil
}

// run runs a script within the time allowed, unless Redis is known to be away.
func (c *Client) run(ctx context.Context, script *goredis.Script, keys []string, args ...any) (any, error) {
	var answer any
	err := c.do(ctx, func(ctx context.Context) (err error) {
		answer, err = script.Run(ctx, c.rdb, keys, args...).Result()
		return err
	})
	return answer, err
}

// do makes one exchange within the time allowed, unless Redis is known to be away. That there is nothing under a key
// is not an error.
func (c *Client) do(ctx context.Context, exchange func(context.Context) error) error {
	if !c.up.Load() {
		c.observe(Skipped)
		return ErrAway
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := exchange(bounded)
	if errors.Is(err, goredis.Nil) {
		err = nil
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // the caller has left, which says nothing about Redis
	}
	c.record(err, false)
	if err != nil {
		return fmt.Errorf("asking Redis: %w", err)
	}
	return nil
}

// key returns the name of a key or channel. What stands in braces decides on which server of a Cluster it is.
func (c *Client) key(name string) string { return c.prefix + name }
