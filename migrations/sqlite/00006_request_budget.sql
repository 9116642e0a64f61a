-- +goose Up

-- What an installation has spent of its request budget, as the holder of its
-- last lease wrote it down, and until when its backfill waits.
ALTER TABLE installation_leases ADD COLUMN budget BLOB;
ALTER TABLE installation_leases ADD COLUMN backfill_until INTEGER;
-- How many rows were handed out under the present lease, and under those since
-- the budget was written down that nobody gave back: what was spent on the
-- latter is not known. lost_at is when the last of them would have ended.
ALTER TABLE installation_leases ADD COLUMN handed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE installation_leases ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE installation_leases ADD COLUMN lost_at INTEGER;
