-- Accounting of what is delivered more than once, and marks of dirty ranges that are written once per series and day.

-- The broker delivers again what was not acknowledged: the same bytes for the same reason are one quarantine row.
ALTER TABLE quarantine ADD COLUMN digest bytea NOT NULL;
CREATE UNIQUE INDEX quarantine_digest ON quarantine (digest);

-- Writers hold a shared advisory lock while they mark and commit; whoever takes the marks holds it exclusively for a moment
-- and counts the epoch up. A mark written in the present epoch need not be written again.
CREATE TABLE dirty_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch bigint NOT NULL
);
INSERT INTO dirty_epoch (epoch) VALUES (1);
GRANT SELECT ON dirty_epoch TO cw_ingest;
GRANT SELECT, UPDATE ON dirty_epoch TO cw_app, cw_owner;
CREATE INDEX dirty_range_series ON dirty_range (series_id);
