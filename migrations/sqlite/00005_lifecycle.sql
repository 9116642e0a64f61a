-- +goose Up

-- What the owner of an installation has granted; '' before GitHub has told.
ALTER TABLE installations ADD COLUMN granted TEXT NOT NULL DEFAULT '';
ALTER TABLE installations ADD COLUMN removed_at INTEGER; -- since when it is removed
-- Nothing is left but the row's number and times, which keep late events from
-- bringing back what was erased. The same in repositories and deleted_issues.
ALTER TABLE installations ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;

ALTER TABLE repositories ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN removed_at INTEGER;
ALTER TABLE repositories ADD COLUMN removed_because TEXT NOT NULL DEFAULT '';
ALTER TABLE repositories ADD COLUMN joined_at INTEGER NOT NULL DEFAULT 0; -- when its installation got it
ALTER TABLE repositories ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;

UPDATE installations SET removed_at = updated_at WHERE removed = 1;
UPDATE repositories SET removed_at = membership_at, removed_because = 'removed' WHERE removed = 1;
UPDATE repositories SET joined_at = membership_at WHERE removed = 0;

CREATE INDEX installations_to_erase ON installations (removed_at) WHERE removed = 1 AND erased = 0;
CREATE INDEX repositories_to_erase ON repositories (removed_at) WHERE removed = 1 AND erased = 0;

-- Issues that were deleted or transferred on GitHub. Apart from the issues, so
-- that the writes of the others do not pay for it.
CREATE TABLE deleted_issues (
    issue_id            INTEGER PRIMARY KEY REFERENCES issues (id) ON DELETE CASCADE,
    deleted_at          INTEGER NOT NULL,
    because             TEXT    NOT NULL,
    moved_repository_id INTEGER, -- what a transferred issue has become
    moved_number        INTEGER,
    erased              INTEGER NOT NULL
) STRICT;

CREATE INDEX deleted_issues_to_erase ON deleted_issues (deleted_at) WHERE erased = 0;
CREATE INDEX deleted_issues_by_move ON deleted_issues (moved_repository_id, moved_number) WHERE moved_repository_id IS NOT NULL;

INSERT INTO deleted_issues (issue_id, deleted_at, because, erased)
SELECT id, updated_at, 'issue_deleted', 0 FROM issues WHERE deleted = 1;

-- The log of what was erased. Numbers, times and counts only: it must not keep
-- what it says is gone.
CREATE TABLE erasures (
    id              INTEGER PRIMARY KEY,
    subject         TEXT    NOT NULL, -- repository, issue or installation
    installation_id INTEGER NOT NULL,
    repository_id   INTEGER NOT NULL, -- 0 of an installation
    number          INTEGER NOT NULL, -- 0 but of an issue
    because         TEXT    NOT NULL,
    removed_at      INTEGER NOT NULL,
    begun_at        INTEGER NOT NULL,
    ended_at        INTEGER,          -- NULL while it is under way
    outcome         TEXT    NOT NULL, -- '' while it is under way, then erased or returned
    counts          TEXT    NOT NULL, -- rows erased, by table
    walked          TEXT    NOT NULL  -- how far applied_events was gone through
) STRICT;

CREATE INDEX erasures_open ON erasures (id) WHERE ended_at IS NULL;

-- Plugins that are still to be told to forget a repository.
CREATE TABLE plugin_forgets (
    repository_id INTEGER NOT NULL,
    plugin        TEXT    NOT NULL,
    since         INTEGER NOT NULL,
    PRIMARY KEY (repository_id, plugin)
) STRICT, WITHOUT ROWID;
