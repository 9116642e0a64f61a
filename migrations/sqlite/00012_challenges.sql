-- +goose Up

-- What a challenger would have said of an issue's field, beside what was decided.
-- The values that either would have labelled are JSON arrays in order.
CREATE TABLE challenges (
    issue_id           INTEGER NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    challenger         TEXT    NOT NULL,
    field              TEXT    NOT NULL,
    repository_id      INTEGER NOT NULL,
    version            TEXT    NOT NULL,
    contrast           TEXT    NOT NULL,
    champion_decides   TEXT    NOT NULL,
    challenger_decides TEXT    NOT NULL,
    divergence         REAL    NOT NULL,
    compared_at        INTEGER NOT NULL,
    PRIMARY KEY (issue_id, challenger, field)
) STRICT, WITHOUT ROWID;

CREATE INDEX challenges_ranked ON challenges (divergence DESC, compared_at DESC) WHERE champion_decides <> challenger_decides;
CREATE INDEX challenges_by_repository ON challenges (repository_id);
