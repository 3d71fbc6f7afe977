package docs_test

// frame is where the example of an option stands.
type frame struct {
	// A whole Caddyfile, with %s where the example is.
	caddyfile string

	// A line that is there as well, unless the example begins with one of the words in unless.
	usual  string
	unless []string

	// Where the type stands in the JSON: members, positions in lists, or `name=value` for the first object, from the top,
	// that has such a member.
	path string
}

const (
	inApp      = "{\n\tip_reputation {\n\t\t%s\n\t}\n}\n"
	inFeed     = "{\n\tip_reputation {\n\t\tfeed https://lists.example.org/bad.txt {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inExempt   = "{\n\tip_reputation {\n\t\texempt https://lists.example.org/partners.txt {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inDatabase = "{\n\tip_reputation {\n\t\tmmdb /srv/geo/vendor.mmdb {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inProvider = "{\n\tip_reputation {\n\t\tprovider abuseipdb {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inService  = "{\n\tip_reputation {\n\t\t%s {\n\t\t\tkey {env.ABUSEIPDB_KEY}\n\t\t}\n\t}\n}\n"
	inRedis    = "{\n\tip_reputation {\n\t\tredis redis.example.com {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inBots     = "{\n\tip_reputation {\n\t\tverified_bots google {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inNearby   = "{\n\tip_reputation {\n\t\tneighbourhood {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inSite     = "app.example.com {\n\t%s\n}\n"
	inHandler  = "app.example.com {\n\tip_reputation {\n\t\t%s\n\t}\n}\n"
	inMatched  = "app.example.com {\n\t@mine method DELETE\n\tip_reputation {\n\t\t%s\n\t}\n}\n"
	inAPI      = "api.example.com {\n\tip_reputation_api {\n\t\t%s\n\t}\n}\n"
	inToken    = "api.example.com {\n\tip_reputation_api {\n\t\ttoken {env.API_TOKEN} read violations {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inWebhook  = "{\n\tevents {\n\t\ton ip_reputation_provider_down ip_reputation_webhook https://hooks.example.com/caddy {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inCore     = "{\n\tlog {\n\t\tcore ip_reputation_sentry {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inSentry   = "{\n\tip_reputation {\n\t\tsentry {env.SENTRY_DSN} {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inHistory  = "{\n\tip_reputation {\n\t\thistory {env.DATABASE_URL} {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inCrowdSec = "{\n\tip_reputation {\n\t\tfeed crowdsec http://127.0.0.1:8080 {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inBans     = "{\n\tip_reputation {\n\t\tbans {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inTLS      = "{\n\tip_reputation {\n\t\tredis redis.example.com {\n\t\t\ttls {\n\t\t\t\t%s\n\t\t\t}\n\t\t}\n\t}\n}\n"
	inHash     = "{\n\tip_reputation {\n\t\tprivacy hash {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inList     = "{\n\tip_reputation {\n\t\tprovider dnsbl bl.example.org {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	inKey      = "{\n\tip_reputation {\n\t\tprovider abuseipdb {\n\t\t\tkey {env.ABUSEIPDB_KEY} {\n\t\t\t\t%s\n\t\t\t}\n\t\t}\n\t}\n}\n"
	inVault    = "{\n\tip_reputation {\n\t\tprovider abuseipdb {\n\t\t\tkey vault secret/abuseipdb {\n\t\t\t\t%s\n\t\t\t}\n\t\t}\n\t}\n}\n"
	inManager  = "{\n\tip_reputation {\n\t\tprovider abuseipdb {\n\t\t\tkey aws_secretsmanager prod/abuseipdb {\n\t\t\t\t%s\n\t\t\t}\n\t\t}\n\t}\n}\n"
	inStore    = "{\n\tip_reputation {\n\t\tprovider abuseipdb {\n\t\t\tkey aws_ssm /prod/abuseipdb {\n\t\t\t\t%s\n\t\t\t}\n\t\t}\n\t}\n}\n"
)

// inGuest is where the options of a service stand.
func inGuest(service string) string {
	return "{\n\tip_reputation {\n\t\tprovider " + service + " {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
}

// frames say where the options of each type stand.
var frames = map[string]frame{
	"App":  {caddyfile: inApp, path: "apps/ip_reputation"},
	"Feed": {caddyfile: inFeed, usual: "name partner", unless: []string{"name"}, path: "apps/ip_reputation/feeds/0"},
	"CrowdSec": {
		caddyfile: inCrowdSec, usual: "key {env.CROWDSEC_KEY}", unless: []string{"key"},
		path: "apps/ip_reputation/feeds/0/crowdsec",
	},
	"List":        {caddyfile: inExempt, path: "apps/ip_reputation/exempt/0"},
	"ListOptions": {caddyfile: inFeed, usual: "name partner", path: "apps/ip_reputation/feeds/0"},
	"Database":    {caddyfile: inDatabase, path: "apps/ip_reputation/mmdb/0"},
	"FactPath":    {caddyfile: inDatabase, path: "apps/ip_reputation/mmdb/0/paths/0"},
	"Provider": {
		caddyfile: inProvider, usual: "key {env.ABUSEIPDB_KEY}", unless: []string{"key"},
		path: "apps/ip_reputation/providers/0",
	},
	"Secret":            {caddyfile: inKey, path: "apps/ip_reputation/providers/0/keys/0"},
	"Redis":             {caddyfile: inRedis, path: "apps/ip_reputation/redis"},
	"Violation":         {caddyfile: inApp, path: "apps/ip_reputation/violations/0"},
	"Bans":              {caddyfile: inBans, path: "apps/ip_reputation/bans"},
	"VerifiedBots":      {caddyfile: inBots, path: "apps/ip_reputation/verified_bots"},
	"TLS":               {caddyfile: inTLS, path: "apps/ip_reputation/redis/tls"},
	"History":           {caddyfile: inHistory, path: "apps/ip_reputation/history"},
	"Sentry":            {caddyfile: inSentry, path: "apps/ip_reputation/sentry"},
	"Neighbourhood":     {caddyfile: inNearby, path: "apps/ip_reputation/neighbourhood"},
	"Privacy":           {caddyfile: inHash, path: "apps/ip_reputation/privacy"},
	"Handler":           {caddyfile: inHandler, path: "handler=ip_reputation"},
	"Rule":              {caddyfile: inHandler, path: "handler=ip_reputation/rules/0"},
	"Conditions":        {caddyfile: inHandler, path: "handler=ip_reputation/rules/0"},
	"RequestConditions": {caddyfile: inHandler, path: "handler=ip_reputation/rules/0"},
	"ViolationRule":     {caddyfile: inHandler, path: "handler=ip_reputation/violations/0"},
	"PriorityRule":      {caddyfile: inHandler, path: "handler=ip_reputation/priority/0"},
	"SignedIn":          {caddyfile: inHandler, usual: "violations default", path: "handler=ip_reputation/signed_in"},
	"DecisionLog":       {caddyfile: inHandler, path: "handler=ip_reputation/log"},
	"Health":            {caddyfile: inSite, path: "handler=ip_reputation_health"},
	"API": {
		caddyfile: inAPI, usual: "token {env.API_TOKEN} read", unless: []string{"token"},
		path: "handler=ip_reputation_api",
	},
	"Token":             {caddyfile: inToken, path: "handler=ip_reputation_api/tokens/0"},
	"MatchIPReputation": {caddyfile: inSite, path: "apps/http"},
	"Webhook": {
		caddyfile: inWebhook, usual: "secret {env.WEBHOOK_SECRET}", unless: []string{"secret"},
		path: "handler=ip_reputation_webhook",
	},
	"SentryCore":     {caddyfile: inCore, usual: "dsn {env.SENTRY_DSN}", unless: []string{"dsn"}, path: "module=ip_reputation_sentry"},
	"AbuseIPDB":      {caddyfile: inProvider, usual: "key {env.ABUSEIPDB_KEY}", path: "service=abuseipdb"},
	"ProxyCheck":     {caddyfile: inGuest("proxycheck"), usual: "key {env.API_KEY}", path: "service=proxycheck"},
	"IPinfo":         {caddyfile: inGuest("ipinfo"), usual: "key {env.API_KEY}", path: "service=ipinfo"},
	"IPQualityScore": {caddyfile: inGuest("ipqualityscore"), usual: "key {env.API_KEY}", path: "service=ipqualityscore"},
	"DNSBL":          {caddyfile: inList, path: "service=dnsbl"},
	"Endpoint":       {caddyfile: inProvider, usual: "key {env.ABUSEIPDB_KEY}", path: "service=abuseipdb"},
	"Account":        {caddyfile: inManager, path: "store=aws_secretsmanager"},
	"GreyNoise":      {caddyfile: inGuest("greynoise"), usual: "key {env.ABUSEIPDB_KEY}", path: "service=greynoise"},
	"MaxMind":        {caddyfile: inGuest("maxmind"), usual: "key {env.ABUSEIPDB_KEY}", path: "service=maxmind"},
	"SecretsManager": {caddyfile: inManager, path: "store=aws_secretsmanager"},
	"ParameterStore": {caddyfile: inStore, path: "store=aws_ssm"},
	"Vault": {
		caddyfile: inVault, usual: "token {env.VAULT_TOKEN}", unless: []string{"token", "approle", "kubernetes"},
		path: "store=vault",
	},
	"AppRole":    {caddyfile: inVault, path: "store=vault/approle"},
	"Kubernetes": {caddyfile: inVault, path: "store=vault/kubernetes"},
	"HTTPJSON": {
		caddyfile: inGuest("http_json acme"), usual: "url https://api.example.com/{ip}\n\t\t\tseverity body.score / 100.0", unless: []string{"url", "severity"},
		path: "service=http_json",
	},
}

// example is what the page shows for an option.
type example struct {
	line string

	// What it needs beside it, which the page does not show.
	with string

	// The word that is documented. Default: the first of the line.
	word string

	// The Caddyfile that the line stands in. Default: that of the type's frame.
	in string
}

// examples has one for each field of each type. Where a field is not set by an option of its own, it is the option that
// sets it. Without a field, it is an example of a type that has none.
var examples = map[string]example{
	"App.violations":    {line: "violation login_failed points 4 half_life 2h"},
	"App.exempt":        {line: "exempt private_ranges 203.0.113.0/24"},
	"App.deny":          {line: "deny 198.51.100.7 2001:db8:bad::/48"},
	"App.verified_bots": {line: "exempt verified_bots"},
	"App.feeds":         {line: "feed tor_exits"},
	"App.mmdb":          {line: "mmdb /var/lib/GeoIP/GeoLite2-ASN.mmdb /var/lib/GeoIP/GeoLite2-Country.mmdb"},
	"App.providers":     {line: "provider abuseipdb", in: inService},
	"App.spend":         {line: "spend first_come"},
	"App.wait":          {line: "wait 50ms"},
	"App.memory":        {line: "memory 500000"},
	"App.nat64":         {line: "nat64 2001:db8:64::/96"},
	"App.bans":          {line: "bans {\n\t\t\tfirst 5m\n\t\t}"},
	"App.redis":         {line: "redis redis.example.com:6379"},
	"App.history":       {line: "history {env.DATABASE_URL}"},
	"App.sentry":        {line: "sentry {env.SENTRY_DSN}"},
	"App.privacy":       {line: "privacy truncate"},
	"App.neighbourhood": {line: "neighbourhood off"},

	"Feed.sources":  {line: "feed spamhaus_drop", in: inApp},
	"Feed.name":     {line: "name partner"},
	"Feed.category": {line: "category scanner,bruteforce"},
	"Feed.nature":   {line: "nature vpn"},
	"Feed.trust":    {line: "trust 0.8"},
	"Feed.crowdsec": {line: "feed crowdsec http://127.0.0.1:8080 {\n\t\t\tkey {env.CROWDSEC_KEY}\n\t\t}", in: inApp},

	"CrowdSec.url":           {line: "feed crowdsec http://127.0.0.1:8080 {\n\t\t\tkey {env.CROWDSEC_KEY}\n\t\t}", in: inApp},
	"CrowdSec.scenarios":     {line: "scenarios http- ssh-bf"},
	"CrowdSec.not_scenarios": {line: "not_scenarios http-crawl"},
	"CrowdSec.origins":       {line: "origins crowdsec,cscli"},
	"CrowdSec.tls":           {line: "tls"},

	"Database.file":    {line: "mmdb /srv/geo/vendor.mmdb", in: inApp},
	"Database.name":    {line: "name vendor"},
	"Database.max_age": {line: "max_age 90d"},
	"Database.paths":   {line: "path country geo.country_code"},
	"FactPath.fact":    {line: "path asn network.number"},
	"FactPath.field":   {line: "path country geo.country_code"},
	"FactPath.values":  {line: "path hosting usage_type DCH CDN"},

	"List.sources": {
		line: "exempt https://lists.example.org/v4.txt https://lists.example.org/v6.txt",
		in:   "{\n\tip_reputation {\n\t\t%s {\n\t\t\tname partners\n\t\t}\n\t}\n}\n",
	},
	"List.name": {line: "name partners"},

	"ListOptions.refresh":     {line: "refresh 6h"},
	"ListOptions.timeout":     {line: "timeout 10s"},
	"ListOptions.header":      {line: `header Authorization "Bearer {file./run/secrets/partner}"`},
	"ListOptions.key":         {line: "key {file./run/secrets/partner}", with: `header Authorization "Bearer {key}"`},
	"ListOptions.format":      {line: "format csv", with: "field address"},
	"ListOptions.field":       {line: "field address", with: "format csv"},
	"ListOptions.min_count":   {line: "min_count 3"},
	"ListOptions.max_size":    {line: "max_size 16MiB"},
	"ListOptions.max_entries": {line: "max_entries 5000000"},
	"ListOptions.max_shrink":  {line: "max_shrink 0.8"},
	"ListOptions.confirm":     {line: "confirm 5"},
	"ListOptions.max_age":     {line: "max_age 7d"},
	"ListOptions.allow_empty": {line: "allow_empty"},

	"Provider.service":       {line: "provider abuseipdb", in: inService},
	"Provider.name":          {line: "name abuseipdb_shop"},
	"Provider.keys":          {line: "key {env.ABUSEIPDB_KEY}"},
	"Provider.quota":         {line: "quota 1000/day"},
	"Provider.rate":          {line: "rate 5/s"},
	"Provider.burst":         {line: "burst 0.25"},
	"Provider.network_share": {line: "network_share 1"},
	"Provider.send":          {line: "send network"},
	"Provider.ask":           {line: "ask unless_listed"},
	"Provider.report":        {line: "report yes"},
	"Provider.report_quota":  {line: "report_quota 900/day", with: "report yes"},
	"Provider.timeout":       {line: "timeout 1s"},
	"Provider.concurrency":   {line: "concurrency 8"},
	"Provider.trust":         {line: "trust 0.9"},
	"Provider.listed_ttl":    {line: "ttl 6h 24h"},
	"Provider.clean_ttl":     {line: "ttl 6h 24h"},

	"Secret.value":   {line: "key {file./run/secrets/abuseipdb}", in: inProvider},
	"Secret.store":   {line: "key aws_ssm /prod/abuseipdb", in: inProvider},
	"Secret.refresh": {line: "refresh 1m"},
	"Secret.expires": {line: "expires 2027-03-31"},

	"History.database":  {line: "history {env.DATABASE_URL}", in: inApp},
	"History.retention": {line: "retention 30d"},
	"History.max_rows":  {line: "max_rows 50000"},
	"History.max_size":  {line: "max_size 20GiB"},
	"History.spool":     {line: "spool 1GiB"},
	"History.migrate":   {line: "migrate off"},

	"VerifiedBots.bots":      {line: "verified_bots google,yandex", in: inApp},
	"VerifiedBots.exempt":    {line: "exempt verified_bots google,bing", in: inApp},
	"VerifiedBots.resolvers": {line: "resolver 127.0.0.1 [2001:db8::53]:5353"},
	"VerifiedBots.ranges":    {line: "ranges googlebot https://mirror.example.org/common-crawlers.json"},

	"Redis.addresses":         {line: "redis redis.example.com:6379", in: inApp},
	"Redis.cluster":           {line: "cluster"},
	"Redis.sentinel":          {line: "sentinel main"},
	"Redis.sentinel_username": {line: "sentinel_username watcher", with: "sentinel main\nsentinel_password {env.SENTINEL_PASSWORD}"},
	"Redis.sentinel_password": {line: "sentinel_password {env.SENTINEL_PASSWORD}", with: "sentinel main"},
	"Redis.username":          {line: "username caddy", with: "password {env.REDIS_PASSWORD}"},
	"Redis.password":          {line: "password {file./run/secrets/redis}"},
	"Redis.database":          {line: "database 2"},
	"Redis.tls":               {line: "tls"},
	"Redis.prefix":            {line: "prefix shop"},
	"Redis.timeout":           {line: "timeout 500ms"},
	"Redis.pool_size":         {line: "pool_size 50"},
	"Redis.local_share":       {line: "local_share 0.25"},

	"TLS.ca":          {line: "ca /etc/redis/ca.pem"},
	"TLS.certificate": {line: "certificate /etc/redis/client.crt /etc/redis/client.key"},
	"TLS.key":         {line: "certificate /etc/redis/client.crt /etc/redis/client.key"},
	"TLS.server_name": {line: "server_name redis.example.com"},

	"Sentry.dsn":         {line: "sentry {file./run/secrets/sentry}", in: inApp},
	"Sentry.environment": {line: "environment staging"},
	"Sentry.release":     {line: "release shop@1.2.3"},
	"Sentry.server_name": {line: "server_name edge-1"},

	"Bans.first": {line: "first 5m"},
	"Bans.most":  {line: "most 12h"},
	"Bans.burst": {line: "burst 0.25"},

	"Neighbourhood.off":    {line: "neighbourhood off", in: inApp},
	"Neighbourhood.from":   {line: "from 5"},
	"Neighbourhood.points": {line: "points 6"},
	"Neighbourhood.mobile": {line: "mobile"},

	"Privacy.mode":      {line: "privacy truncate", in: inApp},
	"Privacy.ipv4_bits": {line: "privacy truncate 16 32", in: inApp},
	"Privacy.ipv6_bits": {line: "privacy truncate 16 32", in: inApp},
	"Privacy.key":       {line: "key {file./run/secrets/privacy}"},

	"Violation.name":      {line: "violation login_failed points 4"},
	"Violation.points":    {line: "violation login_failed points 4", word: "points"},
	"Violation.half_life": {line: "violation login_failed half_life 2h", word: "half_life"},
	"Violation.free":      {line: "violation login_failed free 3", word: "free"},
	"Violation.most":      {line: "violation login_failed most 30", word: "most"},
	"Violation.category":  {line: "violation rude points 3 category web_attack", word: "category"},
	"Violation.ban":       {line: "violation trap ban 1h", word: "ban"},
	"Violation.report":    {line: "violation trap report", word: "report"},

	"Handler.mode":    {line: "mode enforce"},
	"Handler.rules":   {line: "block score 85"},
	"Handler.headers": {line: "headers minimal"},
	"Handler.wait":    {line: "wait 0"},
	"Handler.exempt":  {line: "exempt 203.0.113.0/24"},

	"Handler.ask":        {line: "ask score"},
	"Handler.priority":   {line: "priority path /login /signup"},
	"PriorityRule.match": {line: "priority @mine", word: "@mine", in: inMatched},

	"Handler.unknown": {line: "unknown block"},
	"Handler.log":     {line: "log all"},

	"Handler.violations":                  {line: "violation trap path /.env /.git/*"},
	"Handler.violations_default":          {line: "violations default"},
	"Handler.violations_from_application": {line: "violations from_application"},
	"Handler.signed_in":                   {line: "signed_in cookie session", with: "violations default"},

	"ViolationRule.name":     {line: "violation trap path /wp-login.php"},
	"ViolationRule.path":     {line: "violation login_failed path /login status 401", word: "path"},
	"ViolationRule.not_path": {line: "violation not_found status 404 not_path *.map", word: "not_path"},
	"ViolationRule.method":   {line: "violation trap method TRACE TRACK", word: "method"},
	"ViolationRule.status":   {line: "violation login_failed path /login status 401,403", word: "status"},
	"ViolationRule.header":   {line: "violation login_failed header X-Login failed", word: "header"},
	"ViolationRule.match":    {line: "violation trap @mine", word: "@mine", in: inMatched},

	"SignedIn.cookie": {line: "signed_in cookie session", word: "cookie"},
	"SignedIn.header": {line: "signed_in header Authorization", word: "header"},

	"Rule.action":      {line: "drop score 97 category hijacked"},
	"Rule.limit":       {line: "limit 10/1m score 50"},
	"Rule.key":         {line: "limit 100/1m key {http.request.header.X-Api-Key}", word: "key"},
	"Rule.by":          {line: "limit 100/1m by network score 50", word: "by"},
	"Rule.for":         {line: "ban 1h score 97", word: "ban"},
	"Rule.status_code": {line: "block status 451 category botnet_c2", word: "status"},

	"Conditions.score":     {line: "limit 10/1m score 50-84", word: "score"},
	"Conditions.category":  {line: "block category botnet_c2,hijacked", word: "category"},
	"Conditions.nature":    {line: "limit 10/1m nature tor,vpn", word: "nature"},
	"Conditions.country":   {line: "pass country DE,AT score 0-94", word: "country"},
	"Conditions.continent": {line: "block continent AN,OC", word: "continent"},
	"Conditions.asn_list":  {line: "block asn /etc/caddy/bad-asns.txt", word: "asn"},
	"Conditions.asn":       {line: "block asn 64500,64501", word: "asn"},
	"Conditions.network":   {line: "pass network 203.0.113.0/24,2001:db8::/32", word: "network"},
	"Conditions.source":    {line: "drop source ban", word: "source"},
	"Conditions.status":    {line: "limit 100/1m status unknown,pending", word: "status"},

	"RequestConditions.path":   {line: "block score 60 path /login,/admin/*", word: "path"},
	"RequestConditions.method": {line: "block score 60 method POST,PUT", word: "method"},
	"RequestConditions.header": {line: "block path /login header Sec-Fetch-Site cross-site", word: "header"},

	"DecisionLog.decisions": {line: "log all"},
	"DecisionLog.first":     {line: "log blocked sample 10 1000", word: "sample"},
	"DecisionLog.one_in":    {line: "log blocked sample 10 1000", word: "sample"},

	"Health.form": {line: "ip_reputation_health /ready ready"},

	"API.tokens": {line: "token {env.API_TOKEN} read ask"},
	"API.limit":  {line: "limit 60/1m"},
	"API.cors":   {line: "cors https://intel.example.com"},

	"Token.secret":     {line: "token {file./run/secrets/analyst} read", in: inAPI},
	"Token.scopes":     {line: "token {env.API_TOKEN} read history", in: inAPI},
	"Token.name":       {line: "name analyst"},
	"Token.limit":      {line: "limit 600/1m"},
	"Token.violations": {line: "violations spam"},

	"MatchIPReputation": {line: "@shady ip_reputation score 40-84\nheader @shady X-Robots-Tag noindex", word: "ip_reputation"},

	"Webhook.url": {
		line: "on ip_reputation_redis_away ip_reputation_webhook https://hooks.example.com/caddy", word: "ip_reputation_webhook",
		in: "{\n\tevents {\n\t\t%s {\n\t\t\tsecret {env.WEBHOOK_SECRET}\n\t\t}\n\t}\n}\n",
	},
	"Webhook.secrets": {line: "secret {env.WEBHOOK_SECRET}"},
	"Webhook.header":  {line: `header Authorization "Bearer {env.WEBHOOK_TOKEN}"`},
	"Webhook.timeout": {line: "timeout 3s"},
	"Webhook.retries": {line: "retries 10"},
	"Webhook.queue":   {line: "queue 1000"},

	"SentryCore.dsn":         {line: "dsn {env.SENTRY_DSN}"},
	"SentryCore.environment": {line: "environment staging"},
	"SentryCore.release":     {line: "release shop@1.2.3"},
	"SentryCore.server_name": {line: "server_name off"},
	"SentryCore.level":       {line: "level WARN"},

	"Endpoint.url":           {line: "url https://gateway.example.com/abuseipdb"},
	"AbuseIPDB.max_age_days": {line: "max_age 90"},

	"ProxyCheck.api": {line: "api v2"},

	"IPinfo.api":    {line: "api plus"},
	"IPinfo.key_in": {line: "key_in query"},

	"HTTPJSON.name": {
		line: "provider http_json acme",
		in:   "{\n\tip_reputation {\n\t\t%s {\n\t\t\turl https://api.example.com/{ip}\n\t\t\tseverity body.score / 100.0\n\t\t}\n\t}\n}\n",
	},
	"HTTPJSON.url":           {line: "url https://api.example.com/v1/{ip}?key={key}", with: "severity body.score / 100.0\n\t\t\tkey {env.ACME_KEY}"},
	"HTTPJSON.clear_text":    {line: "clear_text"},
	"HTTPJSON.header":        {line: `header Authorization "Bearer {env.ACME_TOKEN}"`},
	"HTTPJSON.basic_auth":    {line: "basic_auth", with: "key {env.ACME_KEY}"},
	"HTTPJSON.body":          {line: `body "{\"ips\": [\"{ip}\"]}"`},
	"HTTPJSON.content_types": {line: "content_type text/plain"},
	"HTTPJSON.max_size":      {line: "max_size 128KiB"},
	"HTTPJSON.reset_header":  {line: "reset_header X-RateLimit-Reset"},
	"HTTPJSON.covers":        {line: "covers ipv4"},
	"HTTPJSON.refused":       {line: `refused status == 400 && body.error == "bad key"`},
	"HTTPJSON.throttled":     {line: `throttled body.?error.orValue("") == "quota exceeded"`},
	"HTTPJSON.not_found":     {line: `not_found status == 404 && body.error == "unknown address"`},
	"HTTPJSON.error":         {line: "error has(body.error)"},
	"HTTPJSON.address":       {line: "address body.ip"},
	"HTTPJSON.severity":      {line: "severity body.score / 100.0", with: "url https://api.example.com/{ip}"},
	"HTTPJSON.confidence":    {line: "confidence body.reports > 5 ? 0.7 : 0.3"},
	"HTTPJSON.categories":    {line: `category scanner "scan" in body.tags`},
	"HTTPJSON.natures":       {line: "nature tor body.?is_tor"},
	"HTTPJSON.country":       {line: "country body.?geo.?country"},
	"HTTPJSON.asn":           {line: "asn body.?as"},
	"HTTPJSON.last_seen":     {line: "last_seen body.?seen"},
	"HTTPJSON.valid_for":     {line: "valid_for body.?max_age"},
	"HTTPJSON.weight":        {line: "weight 24"},
	"HTTPJSON.good_weight":   {line: "good_weight 4"},
	"HTTPJSON.group":         {line: "group vendor"},
	"HTTPJSON.self_aged":     {line: "self_aged"},
	"HTTPJSON.terms":         {line: `terms "non-commercial use only"`},

	"IPQualityScore.strictness":                 {line: "strictness 1"},
	"IPQualityScore.allow_public_access_points": {line: "allow_public_access_points"},
	"IPQualityScore.lighter_penalties":          {line: "lighter_penalties"},
	"IPQualityScore.key_in":                     {line: "key_in header"},

	"DNSBL.list":      {line: "provider dnsbl dqs", in: inService},
	"DNSBL.resolvers": {line: "resolver 127.0.0.1 [::1]:5353"},
	"DNSBL.category":  {line: "category spam"},
	"DNSBL.codes":     {line: "code 127.0.0.4 bruteforce"},
	"DNSBL.weight":    {line: "weight 20"},
	"DNSBL.group":     {line: "group mail"},
	"DNSBL.ipv6":      {line: "ipv6 on"},
	"DNSBL.test":      {line: "test off"},

	"GreyNoise.api": {line: "api v3"},
	"MaxMind.api":   {line: "api minfraud"},

	"SecretsManager.name":          {line: "key aws_secretsmanager prod/abuseipdb", in: inProvider},
	"SecretsManager.field":         {line: "field key"},
	"SecretsManager.version_stage": {line: "version_stage AWSPREVIOUS"},

	"ParameterStore.path":  {line: "key aws_ssm /prod/abuseipdb", in: inProvider},
	"ParameterStore.field": {line: "field key"},

	"Account.region":   {line: "region eu-central-1"},
	"Account.endpoint": {line: "endpoint https://secretsmanager.example.com"},
	"Account.profile":  {line: "profile production"},

	"Vault.path": {
		line: "key vault secret/abuseipdb",
		in:   "{\n\tip_reputation {\n\t\tprovider abuseipdb {\n\t\t\t%s {\n\t\t\t\ttoken {env.VAULT_TOKEN}\n\t\t\t}\n\t\t}\n\t}\n}\n",
	},
	"Vault.mount":      {line: "mount secret"},
	"Vault.field":      {line: "field key"},
	"Vault.version":    {line: "version 3"},
	"Vault.address":    {line: "address https://vault.example.com:8200"},
	"Vault.namespace":  {line: "namespace team/web"},
	"Vault.ca":         {line: "ca /etc/caddy/vault-ca.pem"},
	"Vault.token":      {line: "token {file./run/secrets/vault}"},
	"Vault.approle":    {line: "approle caddy {file./run/secrets/vault_secret_id}"},
	"Vault.kubernetes": {line: "kubernetes caddy"},
	"Vault.auth_mount": {line: "auth_mount k8s-production", with: "kubernetes caddy"},

	"AppRole.role_id":   {line: "approle caddy {file./run/secrets/vault_secret_id}"},
	"AppRole.secret_id": {line: "approle caddy {file./run/secrets/vault_secret_id}"},

	"Kubernetes.role": {line: "kubernetes caddy"},
	"Kubernetes.jwt":  {line: "jwt /var/run/secrets/tokens/vault", with: "kubernetes caddy"},
}
