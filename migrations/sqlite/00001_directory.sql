-- Times are microseconds since 1970 in UTC; booleans are 0 and 1; lists and
-- maps are JSON.

-- +goose Up
CREATE TABLE installations (
    id         INTEGER PRIMARY KEY,
    account    TEXT    NOT NULL,
    suspended  INTEGER NOT NULL,
    removed    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- installation_id is no foreign key: a repository may become known by an issue's
-- webhook before its installation does.
CREATE TABLE repositories (
    id              INTEGER PRIMARY KEY,
    installation_id INTEGER NOT NULL,
    full_name       TEXT    NOT NULL,
    private         INTEGER NOT NULL,
    removed         INTEGER NOT NULL,
    described_at    INTEGER NOT NULL, -- when installation, name and visibility were so
    membership_at   INTEGER NOT NULL, -- when removed was so
    labels_at       INTEGER           -- when the whole label set was read last
) STRICT;

CREATE INDEX repositories_by_installation ON repositories (installation_id);

-- A removed label leaves its row until the whole set is read again, so that
-- an older event about it is known to be old.
CREATE TABLE repository_labels (
    repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    label_key     TEXT    NOT NULL, -- the name as GitHub compares it
    name          TEXT    NOT NULL,
    color         TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    removed       INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    PRIMARY KEY (repository_id, label_key)
) STRICT, WITHOUT ROWID;

-- Every event that had its effect, about an issue or an installation.
CREATE TABLE applied_events (
    event_id      TEXT    NOT NULL PRIMARY KEY,
    repository_id INTEGER NOT NULL, -- 0 for an event about an installation
    number        INTEGER NOT NULL,
    event_type    TEXT    NOT NULL,
    applied_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX applied_events_by_time ON applied_events (applied_at);
