-- +goose Up

-- Why a person must look at an issue before labels of plugins are written, and
-- which classifiers were to be asked about it and gave nothing.
ALTER TABLE issue_classifications ADD COLUMN hold TEXT NOT NULL DEFAULT '';
ALTER TABLE issue_classifications ADD COLUMN passed_over TEXT NOT NULL DEFAULT '[]';
ALTER TABLE issue_classification_history ADD COLUMN hold TEXT NOT NULL DEFAULT '';
ALTER TABLE issue_classification_history ADD COLUMN passed_over TEXT NOT NULL DEFAULT '[]';

-- What each plugin's answers cost, by UTC day and repository. Money is in
-- billionths of a dollar, so that sums of small amounts stay exact.
CREATE TABLE plugin_usage (
    day           TEXT    NOT NULL, -- 2026-03-01
    repository_id INTEGER NOT NULL,
    plugin        TEXT    NOT NULL,
    answers       INTEGER NOT NULL,
    cached        INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost          INTEGER NOT NULL,
    PRIMARY KEY (day, repository_id, plugin)
) WITHOUT ROWID;
