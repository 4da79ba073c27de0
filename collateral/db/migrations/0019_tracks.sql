-- Areas that people draw: where movables may go, must not go, or are known to stand. Every change is a new row; of the rows that
-- hold on a local day of the site (holds_from on or before it) the newest counts. A day is judged by what holds on it.
CREATE TABLE geofence_version (
    fence_id text NOT NULL,
    revision integer NOT NULL CHECK (revision >= 1),
    site_id text NOT NULL,
    -- Empty: all movables of the site.
    asset_id text NOT NULL DEFAULT '',
    kind text NOT NULL CHECK (kind IN ('region', 'corridor', 'forbidden', 'place')),
    name text NOT NULL,
    name_en text NOT NULL DEFAULT '',
    holds_from date NOT NULL,
    -- True: from holds_from on there is no such area.
    ended boolean NOT NULL DEFAULT false,
    geometry bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    PRIMARY KEY (fence_id, revision)
);
CREATE INDEX geofence_version_site ON geofence_version (site_id);
CREATE TRIGGER geofence_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON geofence_version EXECUTE FUNCTION refuse_change();

-- Trips, stops and silences of a tracker, cut at local midnight. Derived from readings: a day is replaced when its readings change.
CREATE TABLE journey (
    device_id text NOT NULL,
    day date NOT NULL,
    begins timestamptz NOT NULL,
    ends timestamptz NOT NULL CHECK (ends >= begins),
    kind text NOT NULL CHECK (kind IN ('trip', 'stop', 'silence')),
    site_id text NOT NULL,
    asset_id text NOT NULL,
    length_m double precision NOT NULL,
    -- Greatest speed between positions or as reported; NULL for stops.
    top_km_h double precision,
    lon double precision NOT NULL, lat double precision NOT NULL,
    lon_to double precision NOT NULL, lat_to double precision NOT NULL,
    -- 'site', the id of an area, or empty where the place is not known.
    place text NOT NULL DEFAULT '',
    place_to text NOT NULL DEFAULT '',
    -- WKB, simplified; NULL for stops.
    line bytea,
    -- Stretches that are not as they should be: kind, from, to, most, line.
    flags jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (device_id, begins, kind)
);
CREATE INDEX journey_site ON journey (site_id, ends DESC);
CREATE INDEX journey_day ON journey (device_id, day);

CREATE VIEW officer_geofence WITH (security_barrier) AS
    SELECT g.* FROM geofence_version g WHERE g.site_id IN (SELECT site_id FROM officer_site);
CREATE VIEW officer_journey WITH (security_barrier) AS
    SELECT j.* FROM journey j WHERE j.site_id IN (SELECT site_id FROM officer_site);

GRANT SELECT, INSERT ON geofence_version TO cw_owner, cw_app;
GRANT SELECT, INSERT, DELETE ON journey TO cw_owner, cw_app;
GRANT SELECT ON officer_geofence, officer_journey TO cw_officer, cw_app;
