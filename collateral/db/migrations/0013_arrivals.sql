-- Numbers of messages and presence of devices, kept so that the order of arrival and the splitting over processes do not matter.

-- last_sequence and online are those of the newest message by the device's clock, whoever stored it when.
ALTER TABLE device_state ADD COLUMN sequence_at timestamptz, ADD COLUMN online_at timestamptz;
UPDATE device_state SET sequence_at = last_time, online_at = least(last_time, last_received_at);

-- What was heard in one transaction and is not settled yet: for each message (index into devices, number, time), as 4 + 8 + 8
-- bytes, little-endian. One row a transaction, because one a message would cost as much as the readings.
CREATE TABLE sequence_heard (
    heard_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    devices text[] NOT NULL,
    messages bytea NOT NULL,
    received_at timestamptz NOT NULL
);
ALTER TABLE sequence_heard ALTER COLUMN messages SET STORAGE EXTERNAL;

-- Which numbers of a device were heard: runs without a hole, [generation, first, last, first time, last time, arrival,
-- reported], times in microseconds since 1970. A generation ends when the device starts numbering anew.
CREATE TABLE device_sequence (
    device_id text PRIMARY KEY,
    runs jsonb NOT NULL,
    settled_at timestamptz NOT NULL
);

GRANT SELECT, INSERT, DELETE ON sequence_heard TO cw_ingest, cw_app, cw_owner;
GRANT SELECT, INSERT, UPDATE ON device_sequence TO cw_ingest, cw_app, cw_owner;
