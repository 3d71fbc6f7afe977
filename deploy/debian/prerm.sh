#!/bin/sh
# Before the files of the package go. For an upgrade the service runs on, and is restarted when all is in place.
set -e

if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	deb-systemd-invoke stop caddy-ip-reputation.service >/dev/null || true
fi
