-- +goose Up

-- When a repository's own files are to be read again. In the repository's row,
-- because what waits for the first reading is looked for all the time.
ALTER TABLE repositories ADD COLUMN config_version INTEGER NOT NULL DEFAULT 0; -- of what is in force; 0: nobody has read the files yet
ALTER TABLE repositories ADD COLUMN config_due_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN config_due_because TEXT NOT NULL DEFAULT 'new';
ALTER TABLE repositories ADD COLUMN config_marks INTEGER NOT NULL DEFAULT 0; -- how often it was marked as due
ALTER TABLE repositories ADD COLUMN config_attempts INTEGER NOT NULL DEFAULT 0; -- that failed since it was last read
ALTER TABLE repositories ADD COLUMN config_faults INTEGER NOT NULL DEFAULT 0; -- of the files as they were read last
ALTER TABLE repositories ADD COLUMN config_claimed_by TEXT; -- set while somebody reads them
ALTER TABLE repositories ADD COLUMN config_claimed_until INTEGER;

CREATE INDEX repositories_config_due ON repositories (config_due_at, id) WHERE removed = 0 AND installation_id > 0;
CREATE INDEX repositories_config_claimed ON repositories (config_claimed_until) WHERE config_claimed_by IS NOT NULL;

CREATE TABLE repository_configurations (
    repository_id INTEGER PRIMARY KEY REFERENCES repositories (id) ON DELETE CASCADE,
    in_force      TEXT NOT NULL, -- store.Configuration
    report        TEXT NOT NULL  -- store.ConfigurationReport: where it comes from, faults, what the next reading goes by
) STRICT;

-- The file that an owner's repositories inherit, as an installation last read it.
CREATE TABLE owner_files (
    installation_id INTEGER NOT NULL,
    owner_key       TEXT    NOT NULL, -- the login in lower case
    file            TEXT    NOT NULL, -- store.ConfigurationFile
    checked_at      INTEGER NOT NULL,
    PRIMARY KEY (installation_id, owner_key)
) STRICT, WITHOUT ROWID;

-- What the desired labels follow from, beside the classification.
ALTER TABLE desired_labels ADD COLUMN config_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE desired_labels ADD COLUMN held TEXT NOT NULL DEFAULT '[]'; -- fields whose labels are left as they are
ALTER TABLE desired_labels ADD COLUMN suggested TEXT NOT NULL DEFAULT '[]';
ALTER TABLE desired_labels ADD COLUMN issue_type TEXT NOT NULL DEFAULT '';

-- Labels that were suggested rather than written, and what people said of them.
-- Issues are named as in the ledger.
CREATE TABLE label_suggestions (
    repository_id INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    label_key     TEXT    NOT NULL,
    suggestion    TEXT    NOT NULL, -- store.SuggestedLabel
    state         TEXT    NOT NULL,
    github_id     INTEGER NOT NULL, -- 0 where GitHub knows none
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    etag          TEXT    NOT NULL,
    look_at       INTEGER,          -- when to look what became of it on GitHub
    PRIMARY KEY (repository_id, number, label_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX label_suggestions_due ON label_suggestions (look_at, repository_id, number) WHERE state = 'pending';

-- Issues whose type the app has set, or wanted to.
CREATE TABLE typed_issues (
    repository_id INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    type          TEXT    NOT NULL,
    event_id      TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    at            INTEGER NOT NULL,
    PRIMARY KEY (repository_id, number)
) STRICT, WITHOUT ROWID;
