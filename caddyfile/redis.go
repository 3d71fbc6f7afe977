package caddyfile

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
)

// redis reads where the memory is that instances share, and how to talk to it. Syntax:
//
//	redis <address>... {
//		cluster
//		sentinel          <master>
//		sentinel_username <user>
//		sentinel_password <placeholder>
//		username          <user>
//		password          <placeholder>|<store> [<arguments>...] { <see readSecret> }
//		database          <number>
//		tls { <see redisTLS> }
//		prefix            <text>
//		timeout           <duration>
//		pool_size         <number>
//		local_share       <0 to 1>
//	}
func redis(to **module.Redis) setter {
	return func(d *caddyfile.Dispenser) error {
		r := new(module.Redis)
		if err := list(&r.Addresses, "host:port, or the path of a Unix socket")(d); err != nil {
			return err
		}
		err := options{
			{word: "cluster", set: flag(&r.Cluster)},
			{word: "sentinel", set: text(&r.Sentinel, "the name of the master that the Sentinels watch over")},
			{word: "sentinel_username", set: text(&r.SentinelUsername, "the user of the Sentinels")},
			{word: "sentinel_password", set: text(&r.SentinelPassword, "a placeholder such as {env.NAME} or {file./path}")},
			{word: "username", set: text(&r.Username, "the name of the user")},
			{word: "password", set: oneSecret(&r.Password)},
			{word: "database", set: database(&r.Database)},
			{word: "tls", set: redisTLS(&r.TLS)},
			{word: "prefix", set: text(&r.Prefix, "what keys begin with, such as iprep")},
			{word: "timeout", set: duration(&r.Timeout)},
			{word: "pool_size", set: number(&r.PoolSize, "a number of connections above 0")},
			{word: "local_share", set: share(&r.LocalShare)},
		}.parse(d, "redis", nil)
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

// redisTLS reads how to secure the connection. Syntax:
//
//	tls {
//		ca          <file>
//		certificate <file> <key file>
//		server_name <name>
//	}
func redisTLS(to **module.RedisTLS) setter {
	return func(d *caddyfile.Dispenser) error {
		t := new(module.RedisTLS)
		*to = t
		return options{
			{word: "ca", set: text(&t.CA, "a file with certificates in PEM")},
			{word: "certificate", set: func(d *caddyfile.Dispenser) error {
				if !d.AllArgs(&t.Certificate, &t.Key) {
					return d.Err("certificate takes two files in PEM: the certificate, and its key")
				}
				return nil
			}},
			{word: "server_name", set: text(&t.ServerName, "the name in the server's certificate")},
		}.parse(d, "tls of redis", nil)
	}
}

// database sets the number of a database, of which the first is 0.
func database(to *int) setter {
	return value(to, "the number of a database, 0 or more", func(arg string) (int, bool) {
		n, err := strconv.Atoi(arg)
		return n, err == nil && n >= 0
	})
}
