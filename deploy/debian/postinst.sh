#!/bin/sh
# After the files of the package are in place.
set -e

unit=caddy-ip-reputation.service
config=/etc/caddy-ip-reputation/Caddyfile

case "$1" in
configure | abort-upgrade | abort-deconfigure | abort-remove) ;;
*) exit 0 ;;
esac

systemd-sysusers caddy-ip-reputation.conf

# Not a conffile, about which there would be a question: who comes from another Caddy puts the Caddyfile here first, and the
# service goes on with it.
if [ ! -e "$config" ]; then
	mkdir -p "${config%/*}"
	cp /usr/share/caddy-ip-reputation/Caddyfile "$config"
fi

# Through Debian's helpers, which remember what an administrator has disabled and do nothing where nothing may be started,
# such as while an image is built.
deb-systemd-helper unmask "$unit" >/dev/null || true
if deb-systemd-helper --quiet was-enabled "$unit"; then
	deb-systemd-helper enable "$unit" >/dev/null || true
else
	deb-systemd-helper update-state "$unit" >/dev/null || true
fi
if [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
	action=start
	[ -z "$2" ] || action=try-restart # a new program is not taken by a reload
	deb-systemd-invoke $action "$unit" >/dev/null ||
		echo "caddy-ip-reputation did not start: journalctl -u caddy-ip-reputation says why" >&2
fi
