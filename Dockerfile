# Caddy with IP reputation: one static binary, run by a user without rights, on a base without a shell.
#
#	docker build -t caddy-ip-reputation \
#		--build-arg VERSION="$(git describe --tags --always --dirty)" \
#		--build-arg REVISION="$(git rev-parse HEAD)" .
#
# Both architectures, from either machine: docker buildx build --platform linux/amd64,linux/arm64 .
# How to run it: deploy/README.md.

# The compiler runs on the building machine, whatever the image's architecture is: nothing is emulated.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d AS build
WORKDIR /src

# Downloads and compiled packages are cached on the builder, not in a layer: a changed line costs seconds.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
	go mod download

COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION
ARG REVISION
# Built by xcaddy, as operators combine plugins; `--build-arg PLUGINS="github.com/…@v1.2.3 …"` adds some. It is static, since the base
# has no libraries, and has no path of this machine in it, so that a second build makes the same bytes. The repository's history stays
# outside, so version and revision are arguments. That go.sum holds for what is compiled was checked by the download above.
ARG PLUGINS
RUN --mount=type=cache,target=/go/pkg/mod \
	--mount=type=cache,target=/root/.cache/go-build \
	CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
	make xcaddy OUTPUT=/out/usr/bin/caddy VERSION="$VERSION" REVISION="$REVISION" PLUGINS="$PLUGINS"
# A new volume copies the image's folder, with its owner: the folders that Caddy writes to must belong to its user.
RUN mkdir -p /out/data/caddy /out/config/caddy /out/etc/caddy && \
	cp deploy/docker/Caddyfile /out/etc/caddy/Caddyfile && \
	chown -R 65532:65532 /out/data /out/config

# 65532 is the user `nonroot` of this base, which has CA certificates, time zones and no program.
FROM gcr.io/distroless/static-debian12:nonroot@sha256:afa5c872c891853ca7fcf1f12c3edb23f7eeef36189728842dd51042ff57f7ab
COPY --from=build /out/ /

# /data has certificates, lists, bans and the spool; /config has the configuration that was last loaded through the admin API. Caddy
# writes nowhere else, so the root can be read-only.
ENV XDG_DATA_HOME=/data \
	XDG_CONFIG_HOME=/config
VOLUME ["/data", "/config"]

# By number: Kubernetes refuses a name where runAsNonRoot is set.
USER 65532:65532
WORKDIR /

# For people and for `docker run -P`; it opens nothing. HTTPS is on 443 inside as well, since HTTP/3 is announced with that number.
EXPOSE 8080 443 443/udp

# The image has no curl: Caddy asks itself, through the admin API. A Caddyfile with `admin off` needs a check of its own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
	CMD ["/usr/bin/caddy", "ip-reputation", "health"]

# The command of Caddy's own image, so that files for that image also work with this one.
CMD ["/usr/bin/caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]

# Last, since they change with each build.
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="Caddy with IP reputation" \
	org.opencontainers.image.description="Caddy, telling applications and rules how far to trust the address a request comes from" \
	org.opencontainers.image.url="https://github.com/caddy-ip-reputation/caddy-ip-reputation" \
	org.opencontainers.image.source="https://github.com/caddy-ip-reputation/caddy-ip-reputation" \
	org.opencontainers.image.documentation="https://github.com/caddy-ip-reputation/caddy-ip-reputation/blob/main/deploy/README.md" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.base.name="gcr.io/distroless/static-debian12:nonroot" \
	org.opencontainers.image.version="$VERSION" \
	org.opencontainers.image.revision="$REVISION"
