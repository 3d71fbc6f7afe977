-- +goose Up
-- What sites saw clients do, and what came of it: violations, bans by rules and by violations, reports to services. Equal
-- ones of an address and a minute are counted; a minute may have several rows of a kind, which add up.
CREATE TABLE ip_reputation.incidents (
	id         bigint GENERATED ALWAYS AS IDENTITY,
	minute     timestamptz NOT NULL,
	address    inet        NOT NULL,
	host       text        NOT NULL,
	kind       text        NOT NULL,
	name       text        NOT NULL,
	count      bigint      NOT NULL,
	points     real        NOT NULL,
	seconds    bigint      NOT NULL,
	categories text[]      NOT NULL,
	result     text        NOT NULL,
	first_at   timestamptz NOT NULL,
	last_at    timestamptz NOT NULL,
	request_id text        NOT NULL,
	config     text        NOT NULL
) PARTITION BY RANGE (minute);

CREATE INDEX incidents_address ON ip_reputation.incidents (address, minute);

-- +goose Down
DROP TABLE ip_reputation.incidents;
