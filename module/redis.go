package module

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// Redis is the memory that several instances of Caddy share: what providers said, who asks next, what is left
// of quotas and limits, what operators ban, and the lists that one of them fetched. While it is away each
// instance goes on by itself; nothing waits for it.
type Redis struct {
	// Where it is: `host:port`, or the path of a Unix socket. Several only of a Cluster or of Sentinels. Placeholders are
	// resolved when the configuration is loaded. Default port: 6379.
	Addresses []string `json:"addresses,omitempty"`

	// Whether the addresses are nodes of a Redis Cluster, or its configuration endpoint. Default: no.
	Cluster bool `json:"cluster,omitempty"`

	// The name of the master that the addresses, which are Redis Sentinels then, watch over.
	// Default: none, the addresses are of Redis itself.
	Sentinel string `json:"sentinel,omitempty"`

	// The user for the Sentinels themselves, if they ask for one. Default: none.
	SentinelUsername string `json:"sentinel_username,omitempty"`

	// The password for the Sentinels themselves, if they ask for one, as a placeholder; one that changes needs a reload.
	// Default: none.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// The user. It needs `+@read +@write +@scripting +@connection +@pubsub +time ~<prefix>:* &<prefix>:*`, and
	// in a Cluster `+cluster|slots +command` besides. Default: the default user.
	Username string `json:"username,omitempty"`

	// The password, which is read again while Caddy runs, and at once when Redis refuses it. Default: none.
	Password *secret.Secret `json:"password,omitempty"`

	// The number of the database. Default: 0.
	Database int `json:"database,omitempty"`

	// How to secure the connection. Without it, it is plain TCP. Default: none.
	TLS *TLS `json:"tls,omitempty"`

	// What every key and channel begins with. Instances that are to share must have the same; products that are
	// not, such as staging and production, must not. Default: `iprep`.
	Prefix string `json:"prefix,omitempty"`

	// How long one exchange may take before this instance goes on by itself, up to 1s. Requests wait no longer
	// than `wait` in any case; a Redis far away needs more, about six times the round trip, to connect. Default:
	// 250ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// The most connections to one server. Default: 10 for each processor.
	PoolSize int `json:"pool_size,omitempty"`

	// How much of what was left of a quota this instance may use by itself while Redis is away, from 0 (nothing)
	// to 1. With one over the number of instances, all of them together keep the quota when they lose Redis at
	// the same time. Default: 0.1.
	LocalShare *float64 `json:"local_share,omitempty"`
}

const (
	defaultLocalShare = 0.1

	// maxRedisTimeout is well below what a call to a provider may take, which has to be counted first.
	maxRedisTimeout = time.Second
)

func (r *Redis) localShare() float64 {
	if r.LocalShare == nil {
		return defaultLocalShare
	}
	return *r.LocalShare
}

// Check reports what is wrong with the settings, as far as they can be judged by themselves.
func (r *Redis) Check() error {
	switch share := r.localShare(); {
	case !(share >= 0 && share <= 1): // written so that NaN is refused
		return fmt.Errorf("local_share %v is out of range: use 0 (nothing) to 1", share)
	case r.Timeout < 0 || time.Duration(r.Timeout) > maxRedisTimeout:
		return fmt.Errorf("timeout %s is out of range: use up to %s", time.Duration(r.Timeout), maxRedisTimeout)
	case r.Database < 0:
		return fmt.Errorf("database %d is out of range: use 0 or more", r.Database)
	case r.PoolSize < 0:
		return fmt.Errorf("pool_size %d is out of range: use 1 or more", r.PoolSize)
	case strings.ContainsAny(r.Prefix, "{}* \t\r\n"):
		return fmt.Errorf("prefix %q: use letters, digits and - . : _", r.Prefix)
	case r.Username != "" && r.Password == nil:
		return fmt.Errorf("user %s has no password: %s", r.Username, secret.HowToWrite("password"))
	case r.SentinelPassword != "" && secret.Check("sentinel_password", r.SentinelPassword) != nil:
		return secret.Check("sentinel_password", r.SentinelPassword)
	case r.Sentinel == "" && r.SentinelUsername+r.SentinelPassword != "":
		return errors.New("a user and password of Sentinels are given without `sentinel <master>`")
	}
	if err := r.TLS.check(); err != nil {
		return err
	}
	options := r.options()
	return options.Check()
}

// options returns what needs no resolving.
func (r *Redis) options() redis.Options {
	return redis.Options{
		Addresses: r.Addresses, Cluster: r.Cluster, Master: r.Sentinel,
		SentinelUsername: r.SentinelUsername, Database: r.Database, Prefix: r.Prefix,
		Timeout: time.Duration(r.Timeout), PoolSize: r.PoolSize,
	}
}

// resolve returns the options with which to connect, but for the password.
func (r *Redis) resolve(logger *slog.Logger) (redis.Options, error) {
	if err := r.Check(); err != nil {
		return redis.Options{}, err
	}
	o := r.options()
	o.Addresses = nil
	for _, text := range r.Addresses {
		address, err := refresh.Resolve(text, caddy.NewReplacer())
		if err != nil || address == "" {
			return o, fmt.Errorf("address %s is empty: check that the variable is set, or the file can be read, where Caddy runs", text)
		}
		for part := range strings.SplitSeq(address, ",") {
			o.Addresses = append(o.Addresses, withPort(strings.TrimSpace(part), o.Master))
		}
	}
	var err error
	if r.SentinelPassword != "" {
		if secret.Placeholders(r.SentinelPassword) == "" {
			logger.Warn("a secret stands in the configuration itself, where `/config` and autosave.json show it",
				slog.String("secret", "redis"), slog.String("cure", secret.HowToWrite("sentinel_password")))
		}
		if o.SentinelPassword, err = secret.Resolve("sentinel_password", r.SentinelPassword); err != nil {
			return o, err
		}
	}
	if o.TLS, err = r.TLS.config(); err != nil {
		return o, err
	}
	return o, o.Check()
}

// withPort adds the usual port to an address that has none.
func withPort(address, master string) string {
	if path, ok := strings.CutPrefix(address, "unix/"); ok {
		return path // as Caddy writes it
	}
	if strings.HasPrefix(address, "/") || strings.Contains(strings.TrimLeft(address, "["), ":") && !strings.HasSuffix(address, "]") {
		return address
	}
	if master != "" {
		return address + ":26379"
	}
	return address + ":6379"
}

// login lets each new connection ask for the user and the password of the moment.
func (r *Redis) login(password *refresh.Refresher) func() (string, string, error) {
	name := r.Username
	return func() (string, string, error) {
		user, err := "", regularfile.CheckPlaceholders(name)
		if err == nil {
			user, err = caddy.NewReplacer().ReplaceOrErr(name, true, true)
		}
		if err != nil {
			return "", "", fmt.Errorf("username %s cannot be resolved: %w", name, err)
		}
		text, ok := password.Current()
		if !ok {
			return "", "", errors.New("the password has not come from its store yet")
		}
		return user, text, nil
	}
}

// provisionRedis finds or makes the connection. Nobody is called before Start.
func (a *App) provisionRedis(ctx caddy.Context) error {
	if a.Redis == nil {
		return nil
	}
	if err := a.openRedis(ctx); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

func (a *App) openRedis(ctx caddy.Context) error {
	o, err := a.Redis.resolve(a.runtime.Logger)
	if err != nil {
		return err
	}
	key, err := a.Redis.poolKey(o) // before the raw store is gone
	if err != nil {
		return err
	}
	var password *refresh.Refresher
	if a.Redis.Password != nil {
		if password, err = a.Redis.Password.OpenFor(ctx, a.runtime, "redis", "password", true); err != nil {
			return err
		}
		o.Credentials = a.Redis.login(password)
	}
	a.runtime.LocalShare, a.runtime.RedisPool = a.Redis.localShare(), a.Redis.PoolSize
	return a.runtime.OpenRedis(key, o, password)
}

// poolKey returns a key made of all settings of the connection. Of the password, it holds where it is read from.
func (r *Redis) poolKey(o redis.Options) (string, error) {
	ca, err := r.TLS.authorities()
	if err != nil {
		return "", err
	}
	settings := *r
	settings.Addresses, settings.LocalShare = o.Addresses, nil
	hash, err := process.Hash([]any{settings, o.SentinelPassword, ca})
	return "redis " + hash, err
}
