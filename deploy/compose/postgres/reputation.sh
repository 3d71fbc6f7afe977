#!/bin/sh
# The role that Caddy logs in as, and the database in which it keeps the history: run once, when there is no data yet. Caddy is no
# superuser, who could read files and run programs beside the database.
set -eu

# psql reads the password itself: it is in no argument, and a statement that fails is not logged with it.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'EOF'
\set password `cat /run/secrets/database_password`
SET log_min_error_statement = panic;
CREATE ROLE caddy LOGIN PASSWORD :'password';
CREATE DATABASE reputation OWNER caddy;
EOF
