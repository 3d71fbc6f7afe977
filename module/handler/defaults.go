package handler

// What `violations default` stands for.
var (
	// honeypots are paths that no site has and no link leads to. Others, of products that a site may be, are in
	// productPaths.
	honeypots = []string{
		"/.env*", "/.git/config", "/.git/head", "/.aws/credentials", "/.svn/entries", "/.svn/wc.db",
		"/backup.sql", "/backup.sql.gz", "/database.sql", "/database.sql.gz", "/db.sql", "/dump.sql", "/dump.sql.gz",
		"/boaform/*", "/+cscoe+/*", "/dana-na/*",
		"*/eval-stdin.php", "*/alfa3.php", "*/c99.php",
	}

	// productPaths are what scanners look for and other sites have: they count where the site says that it has none.
	productPaths = []string{
		"/wp-login.php", "/xmlrpc.php", "/wp-admin", "/wp-admin/*", "/admin", "/phpmyadmin", "/phpmyadmin/*", "/pma",
		"/pma/*", "/solr/*", "/remote/login", "/kcfinder/upload.php",
	}

	// notMissed are paths that browsers, crawlers and tools ask for by themselves, and what pages are made of: that they
	// are missing is nobody's fault but the site's.
	notMissed = []string{
		"/robots.txt", "/ads.txt", "/app-ads.txt", "/sitemap*", "/.well-known/*", "/apple-touch-icon*", "*.map",
		"/composer.json", "*.config", "*.bak",
		"*.jpg", "*.jpeg", "*.png", "*.gif", "*.svg", "*.ico", "*.webp", "*.bmp", "*.avif", "*.css", "*.js", "*.mjs", "*.ts",
		"*.otf", "*.ttf", "*.woff", "*.woff2", "*.eot", "*.mp3", "*.mp4", "*.wav", "*.gz", "*.br", "*.brotli", "*.bvr",
	}

	// askedByThemselves is where no trap may be.
	askedByThemselves = newPaths([]string{
		"/", "/robots.txt", "/ads.txt", "/app-ads.txt", "/sitemap.xml", "/favicon.ico", "/apple-touch-icon*",
		"/.well-known/acme-challenge*", "/.well-known/security.txt",
	})
)

// DefaultViolations are the rules of `violations default`.
func DefaultViolations() []ViolationRule { return defaultViolations() }

// defaultViolations are the rules of `violations default`. The paths come from public lists of scanners' requests,
// without those that have caught honest visitors: of WebDAV and other clients that try what may be there.
func defaultViolations() []ViolationRule {
	return []ViolationRule{
		{Name: "trap", Path: honeypots},
		{Name: "probe", Path: productPaths, Status: []string{"403", "404"}, oncePerPath: true},
		{Name: "not_found", NotPath: notMissed, Status: []string{"404"}},
	}
}
