-- +goose Up

-- Work that one process does for all: who does it, and until when it holds.
CREATE TABLE leases (
    name        TEXT    NOT NULL PRIMARY KEY,
    owner       TEXT    NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far GitHub's log of deliveries was read; one row.
CREATE TABLE delivery_sweep (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    swept_until  INTEGER, -- everything delivered before was seen
    head         INTEGER, -- what swept_until will be when the reading under way is done
    page         TEXT    NOT NULL, -- where the reading under way goes on; '' when there is none
    started_at   INTEGER,
    finished_at  INTEGER,
    directory_at INTEGER  -- when the list of installations was compared last
) STRICT;

-- Deliveries that GitHub made lately, and older ones that are not settled. What
-- is held and older is only counted, by the hour.
CREATE TABLE deliveries (
    guid            TEXT    NOT NULL PRIMARY KEY,
    event           TEXT    NOT NULL,
    action          TEXT    NOT NULL,
    installation_id INTEGER NOT NULL,
    repository_id   INTEGER NOT NULL, -- 0 when it is about none
    attempt_id      INTEGER NOT NULL, -- of the newest attempt, to ask for another by
    delivered_at    INTEGER NOT NULL, -- when GitHub first tried, by its clock
    state           TEXT    NOT NULL,
    failed          INTEGER NOT NULL, -- it was missing once
    status          TEXT    NOT NULL, -- GitHub's word for the newest attempt
    seen_at         INTEGER NOT NULL, -- when its present state was seen, by our clock
    asked           INTEGER NOT NULL,
    next_at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_open ON deliveries (state, delivered_at) WHERE state <> 'held';
CREATE INDEX deliveries_held ON deliveries (delivered_at) WHERE state = 'held';

CREATE TABLE delivery_hours (
    hour     INTEGER PRIMARY KEY, -- its beginning
    made     INTEGER NOT NULL DEFAULT 0,
    ignored  INTEGER NOT NULL DEFAULT 0,
    failed   INTEGER NOT NULL DEFAULT 0,
    asked    INTEGER NOT NULL DEFAULT 0,
    healed   INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0,
    covered  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- How far each repository's list of issues was compared with what is stored.
CREATE TABLE reconciliations (
    repository_id INTEGER PRIMARY KEY,
    since         INTEGER NOT NULL, -- everything changed before was compared
    etag          TEXT    NOT NULL, -- of the list since then, when nothing was in it
    started_at    INTEGER,
    completed_at  INTEGER,
    due_at        INTEGER NOT NULL,
    labels_due    INTEGER NOT NULL,
    listed        INTEGER NOT NULL,
    missing       INTEGER NOT NULL,
    changed       INTEGER NOT NULL,
    found_at      INTEGER,
    last_error    TEXT    NOT NULL
) STRICT;

CREATE INDEX reconciliations_due ON reconciliations (due_at);

CREATE TABLE backfills (
    repository_id INTEGER PRIMARY KEY,
    request_id    TEXT    NOT NULL,
    state         TEXT    NOT NULL, -- open or all
    since         INTEGER,
    asked_by      TEXT    NOT NULL,
    asked_at      INTEGER NOT NULL,
    status        TEXT    NOT NULL,
    begun_at      INTEGER,          -- by GitHub's clock
    position      INTEGER,          -- everything changed before was looked at
    total         INTEGER NOT NULL, -- how many there were at the start, pull requests included; 0 when unknown
    listed        INTEGER NOT NULL,
    enqueued      INTEGER NOT NULL,
    unchanged     INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    finished_at   INTEGER,
    not_before    INTEGER NOT NULL,
    last_error    TEXT    NOT NULL
) STRICT;
