-- +goose Up

-- Issues are named by repository and number here and not by foreign key: what
-- the app has written on GitHub is remembered whatever becomes of the issue.
CREATE TABLE label_ledger (
    repository_id INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    label_key     TEXT    NOT NULL, -- the name as GitHub compares it
    name          TEXT    NOT NULL,
    field         TEXT    NOT NULL,
    value         TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    plugin        TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    confidence    REAL    NOT NULL,
    event_id      TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    actor         TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (repository_id, number, label_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX label_ledger_counts ON label_ledger (repository_id, state);

CREATE TABLE label_ledger_history (
    id            INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    label_key     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    field         TEXT    NOT NULL,
    value         TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    plugin        TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    confidence    REAL    NOT NULL,
    event_id      TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    actor         TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX label_ledger_history_by_issue ON label_ledger_history (repository_id, number);

-- One row per issue: what it should carry. A settled row stays, so that an
-- older revision is known to be old.
CREATE TABLE desired_labels (
    id              INTEGER PRIMARY KEY,
    repository_id   INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    installation_id INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    event_id        TEXT    NOT NULL,
    traceparent     TEXT    NOT NULL,
    labels          TEXT    NOT NULL,
    backfill        INTEGER NOT NULL,
    received_at     INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    not_before      INTEGER NOT NULL,
    last_error      TEXT    NOT NULL,
    settled         INTEGER NOT NULL,
    claimed_by      TEXT, -- set while an owner has the row in hand under its lease
    UNIQUE (repository_id, number)
) STRICT;

CREATE INDEX desired_labels_due ON desired_labels (installation_id, backfill, received_at, id, not_before, repository_id)
    WHERE settled = 0 AND claimed_by IS NULL;
CREATE INDEX desired_labels_claimed ON desired_labels (installation_id)
    WHERE settled = 0 AND claimed_by IS NOT NULL;

-- Who works on an installation's labels, and until when nobody may.
CREATE TABLE installation_leases (
    installation_id INTEGER PRIMARY KEY,
    owner           TEXT,
    lease_until     INTEGER,
    blocked_until   INTEGER
) STRICT;

CREATE INDEX installation_leases_held ON installation_leases (lease_until) WHERE owner IS NOT NULL;
