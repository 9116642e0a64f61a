-- +goose Up

-- What was said about an issue beside its fields: answers withdrawn, to leave it
-- alone, the author's replies to a request.
CREATE TABLE issue_directives (
    issue_id   INTEGER PRIMARY KEY REFERENCES issues (id) ON DELETE CASCADE,
    directives TEXT NOT NULL
) STRICT;

ALTER TABLE desired_labels ADD COLUMN ignored   INTEGER NOT NULL DEFAULT 0; -- leave the issue as it is
ALTER TABLE desired_labels ADD COLUMN request   TEXT    NOT NULL DEFAULT ''; -- what the comment that asks for answers should say
ALTER TABLE desired_labels ADD COLUMN reactions TEXT    NOT NULL DEFAULT '[]'; -- to comments, that are still to be given

-- The one comment by which an issue's author is asked for answers. Named by
-- repository and number, like the ledger: what the app has written is remembered.
CREATE TABLE info_requests (
    repository_id INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    comment_id    INTEGER NOT NULL, -- 0 before it is known
    text          TEXT    NOT NULL, -- as it stands on GitHub, as far as known
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (repository_id, number)
) STRICT, WITHOUT ROWID;
