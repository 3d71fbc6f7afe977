package caddyfile_test

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() {
	caddy.RegisterModule(recorder{})
}

// recorder is a provider whose configuration is what it was given to read, line by line, each with its number.
type recorder struct {
	Lines []string `json:"lines,omitempty"`
}

func (recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.recorder",
		New: func() caddy.Module { return new(recorder) },
	}
}

func (r *recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	last := -1
	for d.Next() {
		if d.Line() != last {
			last = d.Line()
			r.Lines = append(r.Lines, fmt.Sprintf("%d:", last))
		}
		r.Lines[len(r.Lines)-1] += " " + d.ValRaw()
		if d.Val() == "refuse" {
			return d.Err("refused by the service")
		}
	}
	return nil
}

// Profile lets the provider be configured without a key.
func (*recorder) Profile() reputation.Profile {
	return reputation.Profile{Name: "recorder", Key: reputation.KeyOptional}
}

func (*recorder) Check(context.Context, reputation.Query) (reputation.Report, error) {
	return reputation.Report{}, reputation.ErrUnknown
}
