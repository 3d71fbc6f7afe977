package caddyfile

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// secure reads the TLS settings of the connection to a server. Syntax:
//
//	tls {
//		ca          <file>
//		certificate <file> <key file>
//		server_name <name>
//	}
func secure(to **module.TLS, of string) option.Setter {
	return option.Sub(to, "tls of "+of, func(t *module.TLS) []option.Option {
		return []option.Option{
			option.Once("ca", option.Text(&t.CA, "a file with certificates in PEM")),
			option.Once("certificate",
				option.Values("two files in PEM: the certificate, and its key", &t.Certificate, &t.Key)),
			option.Once("server_name", option.Text(&t.ServerName, "the name in the server's certificate")),
		}
	})
}
