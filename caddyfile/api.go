package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/api"
)

const apiDirective = "ip_reputation_api"

func init() {
	httpcaddyfile.RegisterHandlerDirective(apiDirective, parseAPI)
	// as that of health: before a `handle` or `route` for everything, which would take its requests
	httpcaddyfile.RegisterDirectiveOrder(apiDirective, httpcaddyfile.Before, "invoke")
}

// parseAPI reads what applications may ask. Syntax:
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
	err := options{
		{word: "token", set: apiToken(&handler.Tokens), repeats: true},
		{word: "limit", set: checked(text(&handler.Limit, "requests in a time, such as 60/1m"), handler.CheckAccess)},
		{word: "cors", set: checked(list(&handler.CORS, "origins such as https://intel.example.com"), handler.CheckAccess), repeats: true},
	}.parse(h.Dispenser, apiDirective, nil)
	if err != nil {
		return nil, err
	}
	if err := handler.Check(); err != nil {
		return nil, h.WrapErr(err)
	}
	return &handler, nil
}

// apiToken reads a token and what it is for: the scopes are the last words of the line. Syntax:
//
//	token <placeholder>|<store> [<arguments>...] read|ask|history... {
//		name    <name>
//		limit   <questions>/<time>
//		refresh <duration>
//		expires <day or time>
//		<options of the store>
//	}
func apiToken(to *[]api.APIToken) setter {
	return func(d *caddyfile.Dispenser) error {
		var t api.APIToken
		args := d.CountRemainingArgs()
		secret, scopes := splitScopes(d.NextSegment(), args)
		for _, scope := range scopes {
			t.Scopes = append(t.Scopes, scope.Text)
		}
		if len(scopes) == 0 {
			return d.Err("token does not end in a scope: write read, ask or history at the end of its line, such as token {env.API_TOKEN} read")
		}
		tokens := caddyfile.NewDispenser(secret)
		tokens.Next()
		err := readSecret(tokens, &t.Secret, options{
			{word: "name", set: checked(text(&t.Name, "what the token is called in the log"), t.Check)},
			{word: "limit", set: checked(text(&t.Limit, "questions in a time, such as 600/1m"), t.Check)},
		}...)
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

// splitScopes takes the scopes out of a segment that begins with a word and so many arguments: the last ones.
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
