package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/api"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

const apiDirective = "ip_reputation_api"

func init() {
	httpcaddyfile.RegisterHandlerDirective(apiDirective, parseAPI)
	// as that of health: before a `handle` or `route` for everything, which would take its requests
	httpcaddyfile.RegisterDirectiveOrder(apiDirective, httpcaddyfile.Before, "invoke")
}

// parseAPI reads the look-up API for applications. Syntax:
//
//	ip_reputation_api [<matcher>] {
//		token <placeholder>|<store> [<arguments>...] <scope>... { <see apiToken> }
//		limit <requests>/<time>
//		cors  <origin>...
//	}
//
// `token` and `cors` may be repeated.
func parseAPI(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	var handler api.API
	err := option.Read(h.Dispenser, apiDirective,
		option.Repeated("token", apiToken(&handler.Tokens)),
		option.Once("limit", option.Text(&handler.Limit, "requests in a time, such as 60/1m"),
			handler.CheckAccess),
		option.Repeated("cors",
			option.List(&handler.CORS, "origins such as https://intel.example.com"), handler.CheckAccess),
	)
	if err != nil {
		return nil, err
	}
	if err := handler.Check(); err != nil {
		return nil, h.WrapErr(err)
	}
	return &handler, nil
}

// apiToken reads a token and its scopes, which are the last words of the line. Syntax:
//
//	token <placeholder>|<store> [<arguments>...] read|ask|history|violations... {
//		name       <name>
//		limit      <questions>/<time>
//		violations <name>...
//		refresh    <duration>
//		expires    <day or time>
//		<options of the store>
//	}
func apiToken(to *[]api.Token) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var t api.Token
		args := d.CountRemainingArgs()
		secret, scopes := splitScopes(d.NextSegment(), args)
		for _, scope := range scopes {
			t.Scopes = append(t.Scopes, scope.Text)
		}
		if len(scopes) == 0 {
			return d.Err("token does not end in a scope: write read, ask, history or violations at the end " +
				"of its line, such as token {env.API_TOKEN} read")
		}
		tokens := caddyfile.NewDispenser(secret)
		tokens.Next()
		err := readSecret(tokens, &t.Secret,
			option.Once("name", option.Text(&t.Name, "what the token is called in the log"), t.Check),
			option.Once("limit", option.Text(&t.Limit, "questions in a time, such as 600/1m"), t.Check),
			option.Once("violations", option.List(&t.Violations, "names of violations, such as spam"), t.Check),
		)
		if err != nil {
			return err
		}
		if err := t.Check(); err != nil {
			return d.WrapErr(err)
		}
		*to = append(*to, t)
		return nil
	}
}

// splitScopes removes the scopes from a segment: they are the last of the arguments
// on its first line.
func splitScopes(segment caddyfile.Segment, args int) (rest, scopes []caddyfile.Token) {
	end := 1 + args
	begin := end
	for begin > 1 && api.IsAPIScope(segment[begin-1].Text) {
		begin--
	}
	scopes = segment[begin:end]
	rest = append(rest, segment[:begin]...)
	return append(rest, segment[end:]...), scopes
}
