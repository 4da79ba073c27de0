-- Readings and everything made of them.
CREATE TABLE series (
    series_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text NOT NULL,
    quantity text NOT NULL,
    UNIQUE (device_id, quantity)
);

CREATE TABLE reading (
    series_id integer NOT NULL,
    time timestamptz NOT NULL,
    value double precision NOT NULL,
    received_at timestamptz NOT NULL,
    sequence bigint
);
SELECT create_hypertable('reading', 'time', chunk_time_interval => interval '28 days', create_default_indexes => false);
CREATE UNIQUE INDEX reading_key ON reading (series_id, time);

-- The same key with another value: the first stays in reading, every other is kept here.
CREATE TABLE reading_conflict (
    series_id integer NOT NULL,
    time timestamptz NOT NULL,
    value double precision NOT NULL,
    received_at timestamptz NOT NULL,
    sequence bigint,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (series_id, time, value)
);

-- What could not be read, byte for byte, with the reason.
CREATE TABLE quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    topic bytea NOT NULL,
    payload bytea NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    device_id text NOT NULL DEFAULT '',
    retried_at timestamptz
);
CREATE INDEX quarantine_time ON quarantine (received_at DESC);

CREATE TABLE device_event (
    device_id text NOT NULL,
    time timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('online', 'offline', 'last_will', 'sequence_gap', 'sequence_reset')),
    detail jsonb NOT NULL DEFAULT '{}',
    received_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, time, kind)
);

-- State rebuildable from reading and device_event.
CREATE TABLE device_state (
    device_id text PRIMARY KEY,
    last_time timestamptz,
    last_received_at timestamptz,
    last_sequence bigint,
    online boolean,
    messages bigint NOT NULL DEFAULT 0
);

-- Counters of what ingest did, so that every message can be accounted for.
CREATE TABLE ingest_tally (
    client_id text NOT NULL,
    started_at timestamptz NOT NULL,
    messages bigint NOT NULL DEFAULT 0,
    points bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    conflicts bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client_id, started_at)
);

-- Ranges of raw readings whose roll-ups and observations are no longer true.
CREATE TABLE dirty_range (
    dirty_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id integer NOT NULL,
    time_from timestamptz NOT NULL,
    time_to timestamptz NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT now()
);

-- width: '1h' and 'day' (the site's local day). delta: register growth or sum of interval amounts, by the quantity's kind.
CREATE TABLE rollup (
    series_id integer NOT NULL,
    width text NOT NULL CHECK (width IN ('1m', '1h', 'day')),
    bucket timestamptz NOT NULL,
    n integer NOT NULL,
    mean double precision NOT NULL,
    low double precision NOT NULL,
    high double precision NOT NULL,
    first double precision NOT NULL,
    last double precision NOT NULL,
    delta double precision,
    last_received_at timestamptz NOT NULL
);
SELECT create_hypertable('rollup', 'bucket', chunk_time_interval => interval '180 days', create_default_indexes => false);
CREATE UNIQUE INDEX rollup_key ON rollup (series_id, width, bucket);

GRANT SELECT, INSERT ON series, reading, reading_conflict, quarantine, device_event, dirty_range TO cw_ingest, cw_app, cw_owner;
GRANT SELECT, INSERT, UPDATE ON device_state, ingest_tally TO cw_ingest, cw_app, cw_owner;
GRANT UPDATE (retried_at) ON quarantine TO cw_app, cw_ingest, cw_owner;
GRANT DELETE ON dirty_range TO cw_app, cw_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON rollup TO cw_app, cw_owner;
