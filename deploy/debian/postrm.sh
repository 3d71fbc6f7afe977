#!/bin/sh
# After the files of the package are gone. `purge` takes the Caddyfile and the logs, too, but neither the certificates and the bans
# nor what else an administrator has put beside the Caddyfile.
set -e

unit=caddy-ip-reputation.service

if [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ]; then
	deb-systemd-helper purge "$unit" >/dev/null || true
	deb-systemd-helper unmask "$unit" >/dev/null || true
	rm -f /etc/caddy-ip-reputation/Caddyfile
	rm -rf /var/log/caddy-ip-reputation
	rmdir /etc/caddy-ip-reputation 2>/dev/null || true
	[ ! -e /var/lib/caddy-ip-reputation ] || echo "certificates, lists and bans stay in /var/lib/caddy-ip-reputation"
elif [ "$1" = remove ]; then
	deb-systemd-helper mask "$unit" >/dev/null || true
fi
