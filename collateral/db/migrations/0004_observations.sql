-- Scenes, observations, scores, alerts.
CREATE TABLE scene (
    scene_id text PRIMARY KEY,
    path text NOT NULL,
    source text NOT NULL,
    acquired_at timestamptz NOT NULL,
    gsd_m double precision NOT NULL CHECK (gsd_m > 0),
    epsg integer NOT NULL,
    footprint bytea NOT NULL,
    lon_min double precision NOT NULL, lat_min double precision NOT NULL,
    lon_max double precision NOT NULL, lat_max double precision NOT NULL,
    sha256 char(64) NOT NULL,
    bytes bigint NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX scene_time ON scene (acquired_at);

-- Files that could not become a scene.
CREATE TABLE scene_rejection (
    path text NOT NULL,
    sha256 text NOT NULL DEFAULT '',
    reason text NOT NULL,
    detail text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (path, sha256, reason)
);

-- One row per (scene, site, detector, weights): what was done, or why not.
CREATE TABLE scan_result (
    scene_id text NOT NULL REFERENCES scene,
    site_id text NOT NULL,
    detector text NOT NULL,
    model_sha256 text NOT NULL,
    status text NOT NULL CHECK (status IN ('done', 'rejected', 'failed')),
    reason text NOT NULL DEFAULT '',
    figures jsonb NOT NULL DEFAULT '{}',
    scanned_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scene_id, site_id, detector, model_sha256)
);
CREATE INDEX scan_result_site ON scan_result (site_id);

CREATE SEQUENCE observation_id_seq;
CREATE TABLE observation (
    observation_id bigint NOT NULL DEFAULT nextval('observation_id_seq'),
    subject_kind text NOT NULL CHECK (subject_kind IN ('site', 'asset', 'slot')),
    subject_id text NOT NULL,
    site_id text NOT NULL,
    quantity text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz NOT NULL,
    source text NOT NULL CHECK (source IN ('imagery', 'telemetry')),
    method text NOT NULL,
    revision integer NOT NULL CHECK (revision >= 1),
    value double precision NOT NULL,
    lower double precision NOT NULL,
    upper double precision NOT NULL,
    quality text NOT NULL CHECK (quality IN ('good', 'doubtful', 'bad')),
    evidence jsonb NOT NULL DEFAULT '{}',
    known_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CHECK (valid_to > valid_from),
    CHECK (lower <= value AND value <= upper)
);
SELECT create_hypertable('observation', 'valid_from', chunk_time_interval => interval '180 days', create_default_indexes => false);
CREATE UNIQUE INDEX observation_key
    ON observation (subject_kind, subject_id, quantity, source, method, valid_from, revision);
CREATE INDEX observation_site ON observation (site_id, quantity, valid_from);
CREATE TRIGGER observation_append_only BEFORE UPDATE OR DELETE ON observation
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE dirty_site (
    site_id text PRIMARY KEY,
    marked_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL DEFAULT ''
);
CREATE FUNCTION notify_dirty_site() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('dirty_site', NEW.site_id);
    RETURN NULL;
END $$;
CREATE TRIGGER dirty_site_notify AFTER INSERT OR UPDATE ON dirty_site FOR EACH ROW EXECUTE FUNCTION notify_dirty_site();

CREATE SEQUENCE score_id_seq;
CREATE TABLE score (
    score_id bigint NOT NULL DEFAULT nextval('score_id_seq'),
    subject_kind text NOT NULL CHECK (subject_kind IN ('site', 'loan', 'borrower')),
    subject_id text NOT NULL,
    at timestamptz NOT NULL,
    known_at timestamptz NOT NULL,
    value integer NOT NULL CHECK (value BETWEEN 0 AND 10000),
    lower integer NOT NULL CHECK (lower BETWEEN 0 AND 10000),
    upper integer NOT NULL CHECK (upper BETWEEN 0 AND 10000),
    grade text NOT NULL,
    support double precision NOT NULL CHECK (support BETWEEN 0 AND 1),
    contributions jsonb NOT NULL,
    policy_version text NOT NULL,
    engine_version text NOT NULL,
    inputs jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CHECK (lower <= value AND value <= upper)
);
SELECT create_hypertable('score', 'at', chunk_time_interval => interval '180 days', create_default_indexes => false);
CREATE INDEX score_subject ON score (subject_kind, subject_id, at DESC);
CREATE TRIGGER score_append_only BEFORE UPDATE OR DELETE ON score FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What an alert is about never changes; what happened to it is appended to alert_event.
CREATE TABLE alert (
    alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule text NOT NULL,
    subject_kind text NOT NULL,
    subject_id text NOT NULL,
    site_id text NOT NULL,
    priority text NOT NULL CHECK (priority IN ('low', 'medium', 'high')),
    raised_at timestamptz NOT NULL,
    policy_version text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX alert_site ON alert (site_id, raised_at);
CREATE TRIGGER alert_append_only BEFORE UPDATE OR DELETE ON alert FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE alert_event (
    alert_id bigint NOT NULL REFERENCES alert,
    sequence integer NOT NULL,
    at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'acknowledged', 'shelved', 'cleared')),
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    expires_at timestamptz,
    evidence jsonb NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (alert_id, sequence),
    CHECK (state <> 'shelved' OR (reason <> '' AND expires_at IS NOT NULL))
);
CREATE TRIGGER alert_event_append_only BEFORE UPDATE OR DELETE ON alert_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE VIEW alert_current AS
    SELECT a.*, e.state, e.at AS state_at, e.actor, e.reason, e.expires_at, e.evidence
    FROM alert a
    JOIN LATERAL (SELECT * FROM alert_event WHERE alert_id = a.alert_id ORDER BY sequence DESC LIMIT 1) e ON true;

CREATE TABLE outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL REFERENCES alert,
    channel text NOT NULL,
    recipient text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    last_error text NOT NULL DEFAULT '',
    UNIQUE (alert_id, channel, recipient)
);

GRANT SELECT, INSERT ON scene, scene_rejection, observation, score, alert, alert_event TO cw_app, cw_owner;
GRANT SELECT, INSERT, UPDATE ON scan_result TO cw_app, cw_owner;
GRANT SELECT, INSERT, UPDATE ON scene_rejection, outbox TO cw_app, cw_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON dirty_site TO cw_app, cw_owner;
GRANT SELECT ON alert_current TO cw_app, cw_owner;
GRANT USAGE ON SEQUENCE observation_id_seq, score_id_seq TO cw_app, cw_owner;
