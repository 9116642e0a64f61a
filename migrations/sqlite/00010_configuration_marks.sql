-- +goose Up

-- When the repository's files were last heard to have changed. It may have been
-- due before that, and what was read in between is out of date.
ALTER TABLE repositories ADD COLUMN config_marked_at INTEGER NOT NULL DEFAULT 0;
