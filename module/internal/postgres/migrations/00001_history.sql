-- +goose Up
-- Decisions are counted by address, minute and what was decided; a minute may have several rows of a kind, which add up.
CREATE TABLE ip_reputation.decisions (
	id         bigint GENERATED ALWAYS AS IDENTITY,
	minute     timestamptz NOT NULL,
	address    inet        NOT NULL,
	host       text        NOT NULL,
	rule       text        NOT NULL,
	action     text        NOT NULL,
	mode       text        NOT NULL,
	count      bigint      NOT NULL,
	first_at   timestamptz NOT NULL,
	last_at    timestamptz NOT NULL,
	request_id text        NOT NULL,
	score      smallint,
	status     text        NOT NULL,
	config     text        NOT NULL
) PARTITION BY RANGE (minute);

CREATE INDEX decisions_address ON ip_reputation.decisions (address, minute);

-- Verdicts, where they differ from the one before about the same subject.
CREATE TABLE ip_reputation.verdicts (
	id         bigint GENERATED ALWAYS AS IDENTITY,
	at         timestamptz NOT NULL,
	subject    inet        NOT NULL,
	score      smallint    NOT NULL,
	status     text        NOT NULL,
	coverage   real        NOT NULL,
	categories text[]      NOT NULL,
	country    text        NOT NULL,
	asn        bigint      NOT NULL,
	evidence   jsonb       NOT NULL,
	request_id text        NOT NULL,
	config     text        NOT NULL
) PARTITION BY RANGE (at);

CREATE INDEX verdicts_subject ON ip_reputation.verdicts (subject, at);

-- Batches that were stored, so that none is stored twice.
CREATE TABLE ip_reputation.batches (
	id uuid        PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX batches_at ON ip_reputation.batches (at);

-- The oldest version of the plugin's tables that programs may know which are to use these.
CREATE TABLE ip_reputation.compatible (oldest bigint NOT NULL);
INSERT INTO ip_reputation.compatible VALUES (1);

-- +goose Down
DROP TABLE ip_reputation.compatible, ip_reputation.batches, ip_reputation.verdicts, ip_reputation.decisions;
