-- +goose Up

-- Of a vector made of weighted terms: by which vocabulary they were weighted,
-- 0 before the first, and the terms themselves, packed; NULL of any other vector.
ALTER TABLE issue_embeddings ADD COLUMN vocabulary INTEGER NOT NULL DEFAULT 0;
-- The places, 16 bits each, of the numbers in vector; NULL when it holds every place.
ALTER TABLE issue_embeddings ADD COLUMN places BLOB;
ALTER TABLE issue_embeddings ADD COLUMN terms BLOB;

DROP INDEX issue_embeddings_by_repository;
CREATE INDEX issue_embeddings_by_space ON issue_embeddings (repository_id, model, vocabulary, number);

-- In how many of a repository's issues each term stands. The newest one only;
-- versions count upwards whatever the model.
CREATE TABLE embedding_vocabularies (
    repository_id INTEGER PRIMARY KEY REFERENCES repositories (id) ON DELETE CASCADE,
    model         TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    issues        INTEGER NOT NULL, -- that it was counted in
    terms         BLOB    NOT NULL
) STRICT;
