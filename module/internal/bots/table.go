package bots

// prefixes are the members of the form that most operators use.
var prefixes = []string{"prefixes[].ipv4Prefix", "prefixes[].ipv6Prefix"}

const (
	google   = "https://developers.google.com/static/crawling/ipranges/"
	openai   = "https://openai.com/"
	ripestat = "https://stat.ripe.net/data/announced-prefixes/data.json?sourceapp=caddy-ip-reputation&resource="
)

// inForm are ranges in the form of prefixes.
func inForm(name string, urls ...string) *Ranges {
	return &Ranges{Name: name, URLs: urls, Members: prefixes}
}

// announced are the ranges that an autonomous system announces.
func announced(name, asn string) *Ranges {
	return &Ranges{Name: name, URLs: []string{ripestat + asn}, Members: []string{"data.prefixes[].prefix"}}
}

// text are ranges with one address or range a line.
func text(name string, urls ...string) *Ranges { return &Ranges{Name: name, URLs: urls} }

var (
	anthropic = inForm("anthropic", "https://claude.com/crawling/bots.json")
	meta      = announced("meta", "AS32934")
)

// table has a row for each bot, those of one operator together. It is never changed.
var table = []Bot{
	{
		Name: "googlebot", Operator: "google", Ranges: inForm("googlebot", google+"common-crawlers.json"),
		Tokens: []string{"Googlebot", "GoogleOther", "Google-InspectionTool", "Storebot-Google", "Google-CloudVertexBot"},
		Names:  []string{"*.googlebot.com"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "google-special", Operator: "google", Ranges: inForm("google_special", google+"special-crawlers.json"),
		Tokens: []string{"AdsBot-Google", "Mediapartners-Google", "APIs-Google", "Google-Safety"},
		Names:  []string{"rate-limited-proxy-*.google.com"}, MissProves: true, Sure: Confirmed,
		Note: "May ignore robots.txt.",
	},
	{
		Name: "google-user", Operator: "google", Driven: true, Sure: Confirmed,
		Ranges: inForm("google_user", google+"user-triggered-fetchers-google.json", google+"user-triggered-agents.json"),
		Tokens: []string{
			"Feedfetcher-Google", "Google-Site-Verification", "Google-Read-Aloud", "Google-GeminiNotebook",
			"Google-NotebookLM", "Google-Agent",
		},
		Names: []string{"google-proxy-*.google.com"},
		Note:  "Names below googleusercontent.com are not accepted: every customer of Google's cloud has one.",
	},
	{
		Name: "bingbot", Operator: "bing", Ranges: inForm("bingbot", "https://www.bing.com/toolbox/bingbot.json"),
		Tokens: []string{"bingbot", "adidxbot", "BingPreview", "MicrosoftPreview"},
		Names:  []string{"*.search.msn.com"}, Sure: Confirmed,
		Note: "The file has not changed since January 2024.",
	},
	{
		Name: "applebot", Operator: "apple", Ranges: inForm("applebot", "https://search.developer.apple.com/applebot.json"),
		Tokens: []string{"Applebot"}, Names: []string{"*.applebot.apple.com"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "duckduckbot", Operator: "duckduckgo", Ranges: inForm("duckduckbot", "https://duckduckgo.com/duckduckbot.json"),
		Tokens: []string{"DuckDuckBot", "DuckAssistBot"}, MissProves: true, Sure: Confirmed,
		Note: "Its addresses have no host names.",
	},
	{
		Name: "yandexbot", Operator: "yandex", Tokens: []string{"Yandex*", "YaDirectFetcher"},
		Names: []string{"*.yandex.ru", "*.yandex.net", "*.yandex.com"}, Sure: Confirmed,
		Note: "The names cover the whole company.",
	},
	{
		Name: "baiduspider", Operator: "baidu", Tokens: []string{"Baiduspider"},
		Names: []string{"*.crawl.baidu.com", "*.crawl.baidu.jp"}, Sure: Likely,
	},
	{
		Name: "slurp", Operator: "yahoo", Tokens: []string{"Yahoo! Slurp"}, Names: []string{"*.crawl.yahoo.net"},
		Sure: Likely,
	},
	{
		Name: "amazonbot", Operator: "amazon", Tokens: []string{"Amazonbot", "Amzn-SearchBot"},
		Names: []string{"*.crawl.amazonbot.amazon"}, Sure: Confirmed,
		Note: "Its addresses are published on a web page, which is not read.",
	},
	{
		Name: "amazon-adbot", Operator: "amazon", Tokens: []string{"AmazonAdBot"},
		Names: []string{"*.amazonadbot.com"}, Sure: Likely,
	},
	{
		Name: "amazon-user", Operator: "amazon", Tokens: []string{"Amzn-User"},
		Names: []string{"*.crawl.amazonbot.amazon"}, Driven: true, Sure: Confirmed,
	},
	{
		Name: "facebookexternalhit", Operator: "meta", Ranges: meta, Sure: Likely,
		Tokens: []string{"facebookexternalhit", "facebookcatalog"},
		Note:   "Previews of iMessage carry this name, and Twitterbot's, from the user's own address.",
	},
	{
		Name: "meta-externalagent", Operator: "meta", Ranges: meta, Sure: Likely,
		Tokens: []string{"meta-externalagent", "meta-webindexer", "meta-externalads"},
		Note:   "Meta publishes no list of crawlers: the ranges are all that its network announces.",
	},
	{
		Name: "meta-externalfetcher", Operator: "meta", Ranges: meta, Tokens: []string{"meta-externalfetcher"},
		Driven: true, Sure: Likely,
	},
	{
		Name: "twitterbot", Operator: "x", Ranges: announced("x", "AS13414"), Tokens: []string{"Twitterbot"},
		Names: []string{"*.twttr.com"}, Sure: Unconfirmed,
	},
	{
		Name: "linkedinbot", Operator: "linkedin", Tokens: []string{"LinkedInBot"}, Names: []string{"*.fwd.linkedin.com"},
		Sure: Unconfirmed,
	},
	{
		Name: "pinterestbot", Operator: "pinterest", Tokens: []string{"Pinterestbot", "Pinterest/0."},
		Names: []string{"*.pinterest.com", "*.pinterestcrawler.com"}, Sure: Confirmed,
	},
	{
		Name: "gptbot", Operator: "openai", Ranges: inForm("gptbot", openai+"gptbot.json"), Tokens: []string{"GPTBot"},
		Sure: Confirmed, Note: "The file has not changed since October 2025.",
	},
	{
		Name: "oai-searchbot", Operator: "openai", Ranges: inForm("oai_searchbot", openai+"searchbot.json"),
		Tokens: []string{"OAI-SearchBot"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "oai-adsbot", Operator: "openai", Ranges: inForm("oai_adsbot", openai+"adsbot.json"),
		Tokens: []string{"OAI-AdsBot"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "chatgpt-user", Operator: "openai", Ranges: inForm("chatgpt_user", openai+"chatgpt-user.json"),
		Tokens: []string{"ChatGPT-User"}, MissProves: true, Driven: true, Sure: Confirmed,
	},
	{
		Name: "claudebot", Operator: "anthropic", Ranges: anthropic, Tokens: []string{"ClaudeBot", "Claude-SearchBot"},
		MissProves: true, Sure: Confirmed,
	},
	{
		Name: "claude-user", Operator: "anthropic", Ranges: anthropic, Tokens: []string{"Claude-User"},
		Driven: true, Sure: Confirmed, Note: "Claude Code sends this name from its user's own machine.",
	},
	{
		Name: "perplexitybot", Operator: "perplexity", Tokens: []string{"PerplexityBot"}, Sure: Confirmed,
		Ranges: inForm("perplexitybot", "https://www.perplexity.com/perplexitybot.json"),
		Note:   "The file is of February 2025.",
	},
	{
		Name: "perplexity-user", Operator: "perplexity", Tokens: []string{"Perplexity-User"}, Driven: true, Sure: Confirmed,
		Ranges: inForm("perplexity_user", "https://www.perplexity.com/perplexity-user.json"),
		Note:   "Ignores robots.txt.",
	},
	{
		Name: "ccbot", Operator: "commoncrawl", Ranges: inForm("ccbot", "https://index.commoncrawl.org/ccbot.json"),
		Tokens: []string{"CCBot/"}, Names: []string{"*.crawl.commoncrawl.org"}, NamesIPv4: true,
		MissProves: true, Sure: Confirmed,
	},
	{
		Name: "mistralai-index", Operator: "mistral",
		Ranges: inForm("mistralai_index", "https://mistral.ai/mistralai-index-ips.json"),
		Tokens: []string{"MistralAI-Index"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "mistralai-user", Operator: "mistral",
		Ranges: inForm("mistralai_user", "https://mistral.ai/mistralai-user-ips.json"),
		Tokens: []string{"MistralAI-User"}, MissProves: true, Driven: true, Sure: Confirmed,
	},
	{
		Name: "cohere", Operator: "cohere", Tokens: []string{"cohere-ai", "cohere-training-data-crawler"}, Sure: Likely,
	},
	{
		Name: "bytespider", Operator: "bytedance", Tokens: []string{"Bytespider", "TikTokSpider"}, Sure: Unconfirmed,
		Note: "One of the names that are forged most often.",
	},
	{
		Name: "ahrefsbot", Operator: "ahrefs", Tokens: []string{"AhrefsBot", "AhrefsSiteAudit"},
		Ranges: inForm("ahrefsbot", "https://api.ahrefs.com/v3/public/crawler-ip-ranges"),
		Names:  []string{"*.ahrefs.com", "*.ahrefs.net"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "semrushbot", Operator: "semrush", Tokens: []string{"SemrushBot*", "SiteAuditBot", "SplitSignalBot"},
		Names: []string{"*.bl.bot.semrush.com", "*.siteaudit.bot.semrush.com"}, Sure: Unconfirmed,
	},
	{
		Name: "mj12bot", Operator: "majestic", Tokens: []string{"MJ12bot"}, Sure: Confirmed,
		Note: "Volunteers run it from their own machines.",
	},
	{
		Name: "uptimerobot", Operator: "uptimerobot", Tokens: []string{"UptimeRobot"}, MissProves: true, Sure: Confirmed,
		Ranges: text("uptimerobot", "https://uptimerobot.com/inc/files/ips/IPv4andIPv6.txt"),
	},
	{
		Name: "pingdom", Operator: "pingdom", Tokens: []string{"Pingdom"}, MissProves: true, Sure: Confirmed,
		Ranges: text("pingdom", "https://my.pingdom.com/probes/ipv4", "https://my.pingdom.com/probes/ipv6"),
	},
	{
		Name: "statuscake", Operator: "statuscake", Tokens: []string{"StatusCake"}, Sure: Confirmed,
		Note: "Only its IPv4 addresses are read.",
		Ranges: &Ranges{
			Name: "statuscake", URLs: []string{"https://app.statuscake.com/Workfloor/Locations.php?format=json"},
			Members: []string{"*.ip"},
		},
	},
	{
		Name: "betterstack", Operator: "betterstack", MissProves: true, Sure: Confirmed,
		Tokens: []string{"Better Stack Better Uptime Bot", "Better Uptime Bot"},
		Ranges: text("betterstack", "https://uptime.betterstack.com/ips.txt"),
	},
	{
		Name: "stripe-webhook", Operator: "stripe", Tokens: []string{"Stripe/"}, MissProves: true, Sure: Confirmed,
		Ranges: &Ranges{
			Name: "stripe", URLs: []string{"https://stripe.com/files/ips/ips_webhooks.json"},
			Members: []string{"WEBHOOKS[]"},
		},
		Note: "The signature of a webhook is the better proof.",
	},
	{
		Name: "github-hookshot", Operator: "github", Tokens: []string{"GitHub-Hookshot"}, Sure: Confirmed,
		Ranges: &Ranges{Name: "github", URLs: []string{"https://api.github.com/meta"}, Members: []string{"hooks[]"}},
		Note:   "A GitHub Enterprise Server sends the same name from anywhere. The signature of a webhook is the better proof.",
	},
	{
		Name: "telegrambot", Operator: "telegram", Tokens: []string{"TelegramBot"}, MissProves: true, Sure: Confirmed,
		Ranges: text("telegrambot", "https://core.telegram.org/resources/cidr.txt"), Names: []string{"*.ptr.telegram.org"},
		Note: "The ranges are those of the whole network.",
	},
	{
		Name: "slackbot", Operator: "slack", Sure: Likely,
		Tokens: []string{"Slackbot", "Slackbot-LinkExpanding", "Slack-ImgProxy"},
	},
	{
		Name: "discordbot", Operator: "discord", Tokens: []string{"Discordbot"}, Names: []string{"crawl-*.ptr.discord.com"},
		Sure: Likely, Note: "Its media proxy comes from Google's cloud and cannot be verified.",
	},
	{
		Name: "archive-org-bot", Operator: "archive", Tokens: []string{"archive.org_bot"},
		Ranges: announced("archive", "AS7941"), Sure: Unconfirmed,
	},
	{
		Name: "petalbot", Operator: "petal", Tokens: []string{"PetalBot", "AspiegelBot"},
		Names: []string{"*.petalsearch.com", "*.aspiegel.com"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "seznambot", Operator: "seznam",
		Ranges: inForm("seznambot", "https://search.seznam.cz/ipranges/seznambot.json"),
		Tokens: []string{"SeznamBot"}, Names: []string{"fulltextrobot-*.seznam.cz"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "qwantbot", Operator: "qwant", Tokens: []string{"Qwantbot", "Qwantbot-news", "Qwantify"},
		Ranges: inForm("qwantbot", "https://help.qwant.com/wp-content/uploads/sites/latest/qwantbot.json"),
		Names:  []string{"qwantbot-*.qwant.com"}, MissProves: true, Sure: Confirmed,
	},
	{
		Name: "yeti", Operator: "naver", Tokens: []string{"Yeti/1", "Ads-Naver", "Blueno"},
		Names: []string{"crawl.*.web.naver.com"}, Sure: Likely,
	},
	{
		Name: "mojeekbot", Operator: "mojeek", Ranges: inForm("mojeekbot", "https://www.mojeek.com/mojeekbot.json"),
		Tokens: []string{"MojeekBot"}, MissProves: true, Sure: Likely,
	},
	{Name: "youbot", Operator: "you", Tokens: []string{"YouBot"}, Names: []string{"*.search.you.com"}, Sure: Likely},
	{
		Name: "barkrowler", Operator: "babbar", Tokens: []string{"Barkrowler"}, Names: []string{"*.babbar.eu"},
		MissProves: true, Sure: Likely,
	},
}
