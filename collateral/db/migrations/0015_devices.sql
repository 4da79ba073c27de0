-- What is known of a device beside the portfolio row; a new row for every change, the newest holds.
CREATE SEQUENCE device_passport_id_seq;
CREATE TABLE device_passport (
    passport_id bigint PRIMARY KEY DEFAULT nextval('device_passport_id_seq'),
    device_id text NOT NULL,
    calibrated_on date,
    calibration_expires_on date,
    ct_ratio double precision CHECK (ct_ratio > 0),
    scale double precision CHECK (scale <> 0),
    firmware text NOT NULL DEFAULT '',
    place text NOT NULL DEFAULT '',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL
);
CREATE INDEX device_passport_device ON device_passport (device_id, passport_id DESC);
CREATE TRIGGER device_passport_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON device_passport EXECUTE FUNCTION refuse_change();

-- How a device signs in. The password itself is shown once and kept nowhere; the hash is as Mosquitto writes it.
CREATE TABLE device_credential (
    device_id text PRIMARY KEY,
    password_hash text NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT now(),
    issued_by text NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    blocked_until timestamptz
);

-- What was refused at the door, and by whom it was tried.
CREATE SEQUENCE security_event_id_seq;
CREATE TABLE security_event (
    event_id bigint PRIMARY KEY DEFAULT nextval('security_event_id_seq'),
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('not_authorised', 'foreign_topic', 'certificate', 'too_large', 'protocol', 'flood')),
    client text NOT NULL DEFAULT '',
    device_id text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}',
    UNIQUE (at, kind, client, detail)
);
CREATE INDEX security_event_at ON security_event (at DESC);
CREATE TRIGGER security_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON security_event EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON device_passport, security_event TO cw_owner, cw_app;
GRANT SELECT, INSERT, UPDATE ON device_credential TO cw_owner, cw_app;
GRANT USAGE ON SEQUENCE device_passport_id_seq, security_event_id_seq TO cw_owner, cw_app;
