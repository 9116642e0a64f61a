-- +goose Up

-- status, category, priority, component and corrections repeat what follows from
-- the classification and the corrections, for listing and counting.
CREATE TABLE issues (
    id                 INTEGER PRIMARY KEY, -- ours; the search index and cursors use it
    repository_id      INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    number             INTEGER NOT NULL,
    github_id          INTEGER NOT NULL,
    title              TEXT    NOT NULL,
    state              TEXT    NOT NULL,
    author_login       TEXT    NOT NULL,
    author_type        TEXT    NOT NULL,
    author_association TEXT    NOT NULL,
    labels             TEXT    NOT NULL,
    url                TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    closed_at          INTEGER,
    deleted            INTEGER NOT NULL,
    revision           INTEGER NOT NULL,
    received_at        INTEGER NOT NULL,
    log_partition      INTEGER NOT NULL,
    log_offset         INTEGER NOT NULL,
    text_hash          TEXT    NOT NULL,
    status             TEXT    NOT NULL,
    category           TEXT    NOT NULL,
    priority           TEXT    NOT NULL,
    component          TEXT    NOT NULL,
    corrections        INTEGER NOT NULL,
    body               TEXT    NOT NULL, -- last, so that listings need not read past it
    UNIQUE (repository_id, number)
) STRICT;

CREATE INDEX issues_by_github_id  ON issues (github_id);
CREATE INDEX issues_by_update     ON issues (updated_at, id) WHERE deleted = 0;
CREATE INDEX issues_by_repository ON issues (repository_id, updated_at, id) WHERE deleted = 0;
CREATE INDEX issues_by_state      ON issues (state, updated_at, id) WHERE deleted = 0;
CREATE INDEX issues_by_status     ON issues (status, updated_at, id) WHERE deleted = 0;
CREATE INDEX issues_by_category   ON issues (category, updated_at, id) WHERE deleted = 0;
CREATE INDEX issues_by_priority   ON issues (priority, updated_at, id) WHERE deleted = 0;
CREATE INDEX issues_by_component  ON issues (component, updated_at, id) WHERE deleted = 0;
CREATE INDEX issues_counts        ON issues (repository_id, state, status, category, priority, corrections) WHERE deleted = 0;

-- What plugins said last; before that, in the history.
CREATE TABLE issue_classifications (
    issue_id      INTEGER PRIMARY KEY REFERENCES issues (id) ON DELETE CASCADE,
    event_id      TEXT    NOT NULL,
    delivery_id   TEXT    NOT NULL,
    fields        TEXT    NOT NULL,
    reasoning     TEXT    NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd      REAL    NOT NULL,
    similar       TEXT    NOT NULL,
    classified_at INTEGER NOT NULL
) STRICT;

CREATE TABLE issue_classification_history (
    id            INTEGER PRIMARY KEY,
    issue_id      INTEGER NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    event_id      TEXT    NOT NULL,
    delivery_id   TEXT    NOT NULL,
    fields        TEXT    NOT NULL,
    reasoning     TEXT    NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd      REAL    NOT NULL,
    similar       TEXT    NOT NULL,
    classified_at INTEGER NOT NULL
) STRICT;

CREATE INDEX issue_classification_history_by_issue ON issue_classification_history (issue_id);

-- The audit of what people changed; rows are never changed.
CREATE TABLE corrections (
    id         INTEGER PRIMARY KEY,
    issue_id   INTEGER NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    event_id   TEXT    NOT NULL,
    field      TEXT    NOT NULL,
    old_values TEXT    NOT NULL,
    new_values TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    UNIQUE (event_id, field)
) STRICT;

CREATE INDEX corrections_by_issue ON corrections (issue_id, at, id);

-- Apart from the issues, so that their edits never touch vectors.
CREATE TABLE issue_embeddings (
    issue_id      INTEGER PRIMARY KEY REFERENCES issues (id) ON DELETE CASCADE,
    repository_id INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    model         TEXT    NOT NULL,
    norm          REAL    NOT NULL,
    vector        BLOB    NOT NULL -- float32, little-endian, without trailing zeros
) STRICT;

CREATE INDEX issue_embeddings_by_repository ON issue_embeddings (repository_id, model);

-- Words by issue; rowid is issues.id. The words are cut out by the program, so
-- that every database finds the same issues; here they only stand between spaces.
CREATE VIRTUAL TABLE issue_search USING fts5 (
    words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);

-- Merge less eagerly than by default (4): storing issues is the common case and
-- searching them the rare one.
INSERT INTO issue_search (issue_search, rank) VALUES ('automerge', 8);
