-- Since when a passport holds. What was known before this column existed was never used on readings, so that it holds from now.
ALTER TABLE device_passport ADD COLUMN valid_from timestamptz NOT NULL DEFAULT now();

-- Refusals that repeat within an hour are one row with a count; rows older than 90 days may be deleted, by the owner alone.
ALTER TABLE security_event
    ADD COLUMN times bigint NOT NULL DEFAULT 1 CHECK (times > 0),
    ADD COLUMN last_at timestamptz,
    ADD COLUMN hour timestamptz;
ALTER TABLE security_event DROP CONSTRAINT security_event_at_kind_client_detail_key;
CREATE UNIQUE INDEX security_event_key ON security_event (hour, kind, client, device_id, detail);
DROP TRIGGER security_event_append_only ON security_event;
CREATE FUNCTION keep_security_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.times > OLD.times AND NEW.last_at >= coalesce(OLD.last_at, OLD.at)
        AND to_jsonb(NEW) - 'times' - 'last_at' = to_jsonb(OLD) - 'times' - 'last_at' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND coalesce(OLD.last_at, OLD.at) < now() - interval '90 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a row of security_event stays for 90 days at least, and only its count may grow';
END $$;
CREATE TRIGGER security_event_kept BEFORE UPDATE OR DELETE ON security_event
    FOR EACH ROW EXECUTE FUNCTION keep_security_event();
CREATE TRIGGER security_event_not_emptied BEFORE TRUNCATE ON security_event EXECUTE FUNCTION refuse_change();
GRANT UPDATE (times, last_at) ON security_event TO cw_owner, cw_app;

-- How far the broker's log was read, written together with the events found there: none is counted twice or passed over.
CREATE TABLE log_position (
    path text PRIMARY KEY,
    inode bigint NOT NULL,
    position bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON log_position TO cw_owner, cw_app;

-- Readings before this time were dropped: what was made of them is never made anew. Beside it the last reading of each series
-- before that time, which the first rise of a register after it is counted from.
CREATE TABLE retention_horizon (
    what text PRIMARY KEY CHECK (what = 'reading'),
    before timestamptz NOT NULL,
    moved_at timestamptz NOT NULL
);
CREATE TABLE reading_before_horizon (
    series_id integer PRIMARY KEY,
    time timestamptz NOT NULL,
    value double precision NOT NULL
);
GRANT SELECT ON retention_horizon, reading_before_horizon TO cw_owner, cw_app, cw_ingest;

-- Where days were rolled up whose readings are gone, retention ran before there was a horizon.
INSERT INTO retention_horizon (what, before, moved_at)
    SELECT 'reading', min(range_start), now() FROM timescaledb_information.chunks WHERE hypertable_name = 'reading'
    HAVING min(range_start) > (SELECT min(bucket) + interval '1 day' FROM rollup WHERE width = 'day');
