package main

import (
	"io"
	"text/template"
)

// visitor is an example client.
type visitor struct{ Name, Addr, Path, Expect string }

var visitors = []visitor{
	{"clean", "192.0.2.10", "", "200, and the application reads Score 1: nobody has a word against this address"},
	{"suspicious", "203.0.113.50", "",
		"200, and the application reads Score 72: ten people reported it, and it is on a list;\n" +
			"              the answer carries X-Robots-Tag, which the site sets for scores from 40 to 84"},
	{"refused", "203.0.113.10", "",
		"403, from Caddy: sixty people reported it, so its score is 88; the application never sees it"},
	{"scanner", "198.51.100.20", ".env",
		"403, from Caddy: this path is a trap, and nobody visits it by mistake; the address is banned for a day"},
}

var explanation = template.Must(template.New("").Parse(`
Caddy runs with Caddyfile.example on http://{{.Site}}, in front of a small application.
AbuseIPDB and the publisher of lists are stand-ins: nothing leaves this machine.
This Caddy trusts proxies on 127.0.0.1, so you can be one, and say whom you speak for:
{{range .Visitors}}
  {{.Name}}
    curl -i -H 'X-Forwarded-For: {{.Addr}}' http://{{$.Site}}/{{.Path}}
    expect {{.Expect}}
{{end}}
As the operator, in another terminal:

  why it is suspicious, source by source
    go run ./cmd/caddy ip-reputation check 203.0.113.50{{.Address}}
  refuse the clean one from its next request on
    go run ./cmd/caddy ip-reputation ban 192.0.2.10 --ttl 1h --reason "trying bans"{{.Address}}
  what was decided so far, as Prometheus reads it
    curl -s http://{{.Admin}}/metrics | grep ^caddy_ip_reputation_requests_total | grep -v " 0$"

Caddy keeps its data in {{.Dir}} and removes it when Ctrl-C ends the demo.

`))

// explain prints what runs and commands to try. The tests run each of these commands.
func explain(out io.Writer, ports ports, dir string) error {
	address := ""
	if ports.admin != "127.0.0.1:2019" { // the default of the commands
		address = " --address " + ports.admin
	}
	return explanation.Execute(out, map[string]any{
		"Site": ports.site, "Admin": ports.admin, "Address": address, "Dir": dir, "Visitors": visitors,
	})
}
