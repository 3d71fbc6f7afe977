// Package caddyipreputation adds IP reputation to Caddy. It is the path to give to xcaddy and to Caddy's download page:
// importing it registers the app, the handler, the matcher, the providers, their Caddyfile syntax and the command.
package caddyipreputation

import (
	// plugged in
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/caddyfile"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/admin"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/api"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/command"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/handler"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/health"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/abuseipdb"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/crowdseccti"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/dnsbl"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/greynoise"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/httpjson"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/internetdb"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/ipapiis"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/iphub"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/ipinfo"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/ipqualityscore"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/iprepd"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/maxmind"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/otx"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/proxycheck"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/spur"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/stopforumspam"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/virustotal"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/aws"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/vault"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/sentrycore"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/webhook"
)
