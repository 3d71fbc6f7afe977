package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// redis reads the connection to Redis, which instances share. Syntax:
//
//	redis <address>... {
//		cluster
//		sentinel          <master>
//		sentinel_username <user>
//		sentinel_password <placeholder>
//		username          <user>
//		password          <placeholder>|<store> [<arguments>...] { <see readSecret> }
//		database          <number>
//		tls { <see secure> }
//		prefix            <text>
//		timeout           <duration>
//		pool_size         <number>
//		local_share       <0 to 1>
//	}
func redis(to **module.Redis) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		r := new(module.Redis)
		if err := option.List(&r.Addresses, "host:port, or the path of a Unix socket")(d); err != nil {
			return err
		}
		err := option.Read(d, "redis",
			option.Once("cluster", option.Flag(&r.Cluster)),
			option.Once("sentinel",
				option.Text(&r.Sentinel, "the name of the master that the Sentinels watch over")),
			option.Once("sentinel_username", option.Text(&r.SentinelUsername, "the user of the Sentinels")),
			option.Once("sentinel_password", option.Secret(&r.SentinelPassword)),
			option.Once("username", option.Text(&r.Username, "the name of the user")),
			option.Once("password", oneSecret(&r.Password)),
			option.Once("database", option.Number(&r.Database, "the number of a database, 0 or more", 0)),
			option.Once("tls", secure(&r.TLS, "redis")),
			option.Once("prefix", option.Text(&r.Prefix, "what keys begin with, such as iprep")),
			option.Once("timeout", option.Duration(&r.Timeout, "")),
			option.Once("pool_size", option.Number(&r.PoolSize, "a number of connections above 0")),
			option.Once("local_share", option.Share(&r.LocalShare)),
		)
		if err != nil {
			return err
		}
		if err := r.Check(); err != nil {
			return d.WrapErr(err)
		}
		*to = r
		return nil
	}
}
