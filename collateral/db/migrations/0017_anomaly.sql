-- What the detector of a series has learnt (iot.anomaly, packed; a few hundred numbers) and how far it has read.
CREATE TABLE anomaly_state (
    series_id integer PRIMARY KEY,
    version integer NOT NULL,
    until timestamptz NOT NULL,
    received_until timestamptz NOT NULL,
    state bytea NOT NULL,
    -- Readings that came after newer ones were read, so that the detector never saw them.
    passed_over bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Unusual stretches of readings; an episode that grows gets another revision.
CREATE SEQUENCE anomaly_episode_id_seq;
CREATE TABLE anomaly_episode (
    episode_id bigint PRIMARY KEY DEFAULT nextval('anomaly_episode_id_seq'),
    series_id integer NOT NULL,
    device_id text NOT NULL,
    quantity text NOT NULL,
    site_id text NOT NULL,
    time_from timestamptz NOT NULL,
    time_to timestamptz NOT NULL CHECK (time_to >= time_from),
    revision integer NOT NULL CHECK (revision >= 1),
    -- Days one would wait for something as unusual, going by the series' own past.
    wait_days double precision NOT NULL,
    reason text NOT NULL,
    -- Whether its readings came more than an hour late.
    late boolean NOT NULL,
    version integer NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (series_id, time_from, revision)
);
CREATE INDEX anomaly_episode_site ON anomaly_episode (site_id, time_from DESC);
CREATE TRIGGER anomaly_episode_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON anomaly_episode
    EXECUTE FUNCTION refuse_change();
CREATE VIEW officer_anomaly WITH (security_barrier) AS
    SELECT e.* FROM anomaly_episode e
    WHERE e.site_id IN (SELECT site_id FROM officer_site)
        AND e.revision = (SELECT max(n.revision) FROM anomaly_episode n
                          WHERE n.series_id = e.series_id AND n.time_from = e.time_from);

GRANT SELECT, INSERT ON anomaly_episode TO cw_owner, cw_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON anomaly_state TO cw_owner, cw_app;
GRANT USAGE ON SEQUENCE anomaly_episode_id_seq TO cw_owner, cw_app;
GRANT SELECT ON officer_anomaly TO cw_officer, cw_app;
