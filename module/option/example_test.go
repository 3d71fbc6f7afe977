package option_test

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// Service is a guest module of somebody else. Its table is all that it needs to be configured in a Caddyfile:
//
//	provider example {
//		url     <address>
//		max_age <days>
//		timeout <duration>
//		header  <name> <value>
//		tls {
//			ca <file>
//		}
//	}
type Service struct {
	URL     string            `json:"url,omitempty"`
	MaxAge  int               `json:"max_age,omitempty"`
	Timeout caddy.Duration    `json:"timeout,omitempty"`
	Header  map[string]string `json:"header,omitempty"`
	TLS     *TLS              `json:"tls,omitempty"`
}

// TLS is how the service's certificate is checked.
type TLS struct {
	CA string `json:"ca,omitempty"`
}

// UnmarshalCaddyfile reads the options.
func (s *Service) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	return option.Read(d, d.Val(),
		option.Once("url", option.Text(&s.URL, "an address such as https://api.example.com")),
		option.Once("max_age", option.Number(&s.MaxAge, "a number of days from 1 to 365", 1, 365)),
		option.Once("timeout", option.Duration(&s.Timeout, "", time.Millisecond, time.Minute)),
		option.Repeated("header", option.Header(&s.Header)),
		option.Once("tls", option.Sub(&s.TLS, "tls of example", func(t *TLS) []option.Option {
			return []option.Option{option.Once("ca", option.Text(&t.CA, "a file with certificates in PEM"))}
		})),
	)
}

// A guest module reads its options by a table, and operators get errors with the cure and the line.
func Example() {
	var s Service
	err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(`example {
		url     https://api.example.com
		max_age 30
		tls {
			ca /etc/caddy/ca.pem
		}
	}`))
	fmt.Println(s.URL, s.MaxAge, s.TLS.CA, err)

	for _, line := range []string{"max_age 400", "timeout soon", "token hunter2", "url"} {
		fmt.Println(new(Service).UnmarshalCaddyfile(caddyfile.NewTestDispenser("example {\n" + line + "\n}")))
	}
	// Output:
	// https://api.example.com 30 /etc/caddy/ca.pem <nil>
	// max_age "400" is not a number of days from 1 to 365, at Testfile:2
	// timeout "soon" is not a duration from 1ms to 1m0s, at Testfile:2
	// unknown option "token" of example: use one of url, max_age, timeout, header, tls, at Testfile:2
	// url takes one value, an address such as https://api.example.com: it has 0, at Testfile:2
}

// Reword gives a mistake another text, for operators who know the module by other words.
func ExampleBlock_reword() {
	var key string
	block := option.Block{
		Name:    "example",
		Options: []option.Option{option.Once("key", option.Secret(&key))},
		Hide:    true,
		Reword: func(m option.LineError) string {
			if m.Kind == option.Argument {
				return "the key of example belongs into its block: write `key {env.NAME}` there"
			}
			return ""
		},
	}
	for _, text := range []string{"example hunter2", "example {\nkey hunter 2\n}"} {
		d := caddyfile.NewTestDispenser(text)
		d.Next()
		fmt.Println(block.Read(d))
	}
	// Output:
	// the key of example belongs into its block: write `key {env.NAME}` there, at Testfile:1
	// key takes one value, a placeholder such as {env.NAME} or {file./path}: it has 2, at Testfile:2
}
