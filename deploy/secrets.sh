#!/bin/sh
# Makes up the passwords of compose.yaml, each in a file of its own in secrets/. Those that are there stay.
#
# Compose shows a file to a container as it is, owner and all, and each container has a user of its own: the files can be read
# by everybody, in a folder that only you can enter.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

# make <name> writes what it is given, if there is no such file yet: at once, or not at all.
make() {
	if [ -e "$1" ]; then
		cat >/dev/null
	else
		cat >"$1.new"
		chmod 0444 "$1.new"
		mv "$1.new" "$1"
		echo "made secrets/$1"
	fi
}

# password prints 192 random bits, in letters that stand for themselves in a URL.
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

password | make redis_password
password | make postgres_password
password | make database_password
password | make grafana_password

# Redis is given a hash. Who has no password may only ask whether it is alive, which its health check does.
make redis_acl <<EOF
user default on nopass resetkeys resetchannels -@all +ping
user caddy on #$(tr -d '\n' <redis_password | sha256sum | cut -d' ' -f1) resetkeys ~iprep:* resetchannels &iprep:* -@all +@read +@write +@scripting +@connection +@pubsub +time
EOF

printf 'postgres://caddy:%s@postgres:5432/reputation?sslmode=disable' "$(cat database_password)" | make database_url
