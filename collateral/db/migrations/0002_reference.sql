-- Versioned reference data: every change is a new revision; the view of the bare name shows what holds now.
-- A revision with deleted = true ends the object. known_at is when the bank's system knew it, recorded_at when it was written here.
-- The function NAME_as_known(t) shows what was known at t.

CREATE TABLE borrower_version (
    borrower_id text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    name text NOT NULL, name_en text NOT NULL, group_name text NOT NULL DEFAULT '', industry text NOT NULL DEFAULT '',
    PRIMARY KEY (borrower_id, revision)
);
CREATE TRIGGER borrower_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON borrower_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION borrower_as_known(as_known timestamptz) RETURNS SETOF borrower_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (borrower_id) * FROM borrower_version WHERE known_at <= as_known ORDER BY borrower_id, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW borrower AS
    SELECT * FROM (
        SELECT DISTINCT ON (borrower_id) * FROM borrower_version ORDER BY borrower_id, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON borrower_version TO cw_owner, cw_app;
GRANT SELECT ON borrower TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE loan_version (
    loan_id text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    borrower_id text NOT NULL, branch text NOT NULL, officer text NOT NULL, currency char(3) NOT NULL,
    principal numeric(20,2) NOT NULL CHECK (principal > 0), outstanding numeric(20,2) NOT NULL CHECK (outstanding >= 0),
    granted_on date NOT NULL, matures_on date NOT NULL, covenant_min_coverage numeric(8,4),
    PRIMARY KEY (loan_id, revision)
);
CREATE TRIGGER loan_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loan_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION loan_as_known(as_known timestamptz) RETURNS SETOF loan_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (loan_id) * FROM loan_version WHERE known_at <= as_known ORDER BY loan_id, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW loan AS
    SELECT * FROM (
        SELECT DISTINCT ON (loan_id) * FROM loan_version ORDER BY loan_id, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON loan_version TO cw_owner, cw_app;
GRANT SELECT ON loan TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE site_version (
    site_id text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    borrower_id text NOT NULL, name text NOT NULL, name_en text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('factory', 'solar', 'warehouse')), time_zone text NOT NULL, utm_epsg integer NOT NULL,
    geometry bytea NOT NULL, lon_min double precision NOT NULL, lat_min double precision NOT NULL,
    lon_max double precision NOT NULL, lat_max double precision NOT NULL, roofed boolean NOT NULL DEFAULT false,
    installed_kwp double precision, panel_area_m2 double precision, vehicle_capacity integer,
    PRIMARY KEY (site_id, revision)
);
CREATE TRIGGER site_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON site_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION site_as_known(as_known timestamptz) RETURNS SETOF site_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (site_id) * FROM site_version WHERE known_at <= as_known ORDER BY site_id, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW site AS
    SELECT * FROM (
        SELECT DISTINCT ON (site_id) * FROM site_version ORDER BY site_id, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON site_version TO cw_owner, cw_app;
GRANT SELECT ON site TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE loan_site_version (
    loan_id text NOT NULL,
    site_id text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (loan_id, site_id, revision)
);
CREATE TRIGGER loan_site_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loan_site_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION loan_site_as_known(as_known timestamptz) RETURNS SETOF loan_site_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (loan_id, site_id) * FROM loan_site_version WHERE known_at <= as_known ORDER BY loan_id, site_id, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW loan_site AS
    SELECT * FROM (
        SELECT DISTINCT ON (loan_id, site_id) * FROM loan_site_version ORDER BY loan_id, site_id, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON loan_site_version TO cw_owner, cw_app;
GRANT SELECT ON loan_site TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE asset_version (
    asset_id text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    site_id text NOT NULL, loan_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('machine', 'pv_array', 'stock_lot', 'truck')), name text NOT NULL, serial text NOT NULL,
    commodity text NOT NULL DEFAULT '', quantity double precision NOT NULL, value numeric(20,2), pledged_on date NOT NULL,
    corridor bytea,
    PRIMARY KEY (asset_id, revision)
);
CREATE TRIGGER asset_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON asset_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION asset_as_known(as_known timestamptz) RETURNS SETOF asset_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (asset_id) * FROM asset_version WHERE known_at <= as_known ORDER BY asset_id, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW asset AS
    SELECT * FROM (
        SELECT DISTINCT ON (asset_id) * FROM asset_version ORDER BY asset_id, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON asset_version TO cw_owner, cw_app;
GRANT SELECT ON asset TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE slot_version (
    slot_id text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    site_id text NOT NULL, name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('yard_bay', 'parking_bay', 'rack')), asset_id text NOT NULL DEFAULT '',
    capacity double precision NOT NULL, geometry bytea NOT NULL,
    PRIMARY KEY (slot_id, revision)
);
CREATE TRIGGER slot_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON slot_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION slot_as_known(as_known timestamptz) RETURNS SETOF slot_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (slot_id) * FROM slot_version WHERE known_at <= as_known ORDER BY slot_id, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW slot AS
    SELECT * FROM (
        SELECT DISTINCT ON (slot_id) * FROM slot_version ORDER BY slot_id, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON slot_version TO cw_owner, cw_app;
GRANT SELECT ON slot TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE device_version (
    device_id text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    site_id text NOT NULL, asset_id text NOT NULL DEFAULT '', model text NOT NULL DEFAULT '',
    owner text NOT NULL CHECK (owner IN ('borrower', 'bank', 'third_party')), quantities text[] NOT NULL,
    interval_s double precision NOT NULL CHECK (interval_s > 0), gateway_id text NOT NULL DEFAULT '',
    PRIMARY KEY (device_id, revision)
);
CREATE TRIGGER device_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON device_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION device_as_known(as_known timestamptz) RETURNS SETOF device_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (device_id) * FROM device_version WHERE known_at <= as_known ORDER BY device_id, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW device AS
    SELECT * FROM (
        SELECT DISTINCT ON (device_id) * FROM device_version ORDER BY device_id, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON device_version TO cw_owner, cw_app;
GRANT SELECT ON device TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE price_version (
    commodity text NOT NULL,
    currency char(3) NOT NULL,
    valid_from date NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    unit text NOT NULL, price numeric(20,6) NOT NULL CHECK (price >= 0),
    haircut numeric(5,4) NOT NULL CHECK (haircut BETWEEN 0 AND 1),
    PRIMARY KEY (commodity, currency, valid_from, revision)
);
CREATE TRIGGER price_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON price_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION price_as_known(as_known timestamptz) RETURNS SETOF price_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (commodity, currency, valid_from) * FROM price_version WHERE known_at <= as_known ORDER BY commodity, currency, valid_from, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW price AS
    SELECT * FROM (
        SELECT DISTINCT ON (commodity, currency, valid_from) * FROM price_version ORDER BY commodity, currency, valid_from, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON price_version TO cw_owner, cw_app;
GRANT SELECT ON price TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE link_version (
    from_borrower_id text NOT NULL,
    to_borrower_id text NOT NULL,
    kind text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    amount numeric(20,2), currency text NOT NULL DEFAULT '',
    PRIMARY KEY (from_borrower_id, to_borrower_id, kind, revision)
);
CREATE TRIGGER link_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON link_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION link_as_known(as_known timestamptz) RETURNS SETOF link_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (from_borrower_id, to_borrower_id, kind) * FROM link_version WHERE known_at <= as_known ORDER BY from_borrower_id, to_borrower_id, kind, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW link AS
    SELECT * FROM (
        SELECT DISTINCT ON (from_borrower_id, to_borrower_id, kind) * FROM link_version ORDER BY from_borrower_id, to_borrower_id, kind, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON link_version TO cw_owner, cw_app;
GRANT SELECT ON link TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE app_user_version (
    username text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    display_name text NOT NULL,
    role text NOT NULL CHECK (role IN ('officer', 'risk', 'operator', 'auditor', 'admin')), branch text NOT NULL DEFAULT '',
    locale text NOT NULL DEFAULT 'zh',
    PRIMARY KEY (username, revision)
);
CREATE TRIGGER app_user_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON app_user_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION app_user_as_known(as_known timestamptz) RETURNS SETOF app_user_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (username) * FROM app_user_version WHERE known_at <= as_known ORDER BY username, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW app_user AS
    SELECT * FROM (
        SELECT DISTINCT ON (username) * FROM app_user_version ORDER BY username, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON app_user_version TO cw_owner, cw_app;
GRANT SELECT ON app_user TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE fx_rate_version (
    currency char(3) NOT NULL,
    valid_from date NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    per_cny numeric(20,8) NOT NULL CHECK (per_cny > 0),
    PRIMARY KEY (currency, valid_from, revision)
);
CREATE TRIGGER fx_rate_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON fx_rate_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION fx_rate_as_known(as_known timestamptz) RETURNS SETOF fx_rate_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (currency, valid_from) * FROM fx_rate_version WHERE known_at <= as_known ORDER BY currency, valid_from, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW fx_rate AS
    SELECT * FROM (
        SELECT DISTINCT ON (currency, valid_from) * FROM fx_rate_version ORDER BY currency, valid_from, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON fx_rate_version TO cw_owner, cw_app;
GRANT SELECT ON fx_rate TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE holiday_version (
    calendar text NOT NULL,
    day date NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    name text NOT NULL,
    PRIMARY KEY (calendar, day, revision)
);
CREATE TRIGGER holiday_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON holiday_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION holiday_as_known(as_known timestamptz) RETURNS SETOF holiday_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (calendar, day) * FROM holiday_version WHERE known_at <= as_known ORDER BY calendar, day, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW holiday AS
    SELECT * FROM (
        SELECT DISTINCT ON (calendar, day) * FROM holiday_version ORDER BY calendar, day, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON holiday_version TO cw_owner, cw_app;
GRANT SELECT ON holiday TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE policy_version (
    policy_version text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    sha256 char(64) NOT NULL, body text NOT NULL,
    PRIMARY KEY (policy_version, revision)
);
CREATE TRIGGER policy_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION policy_as_known(as_known timestamptz) RETURNS SETOF policy_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (policy_version) * FROM policy_version WHERE known_at <= as_known ORDER BY policy_version, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW policy AS
    SELECT * FROM (
        SELECT DISTINCT ON (policy_version) * FROM policy_version ORDER BY policy_version, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON policy_version TO cw_owner, cw_app;
GRANT SELECT ON policy TO cw_owner, cw_app, cw_officer, cw_ingest;

CREATE TABLE model_version (
    name text NOT NULL,
    sha256 text NOT NULL,
    revision integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user,
    deleted boolean NOT NULL DEFAULT false,
    card jsonb NOT NULL,
    PRIMARY KEY (name, sha256, revision)
);
CREATE TRIGGER model_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON model_version EXECUTE FUNCTION refuse_change();
CREATE FUNCTION model_as_known(as_known timestamptz) RETURNS SETOF model_version LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        SELECT DISTINCT ON (name, sha256) * FROM model_version WHERE known_at <= as_known ORDER BY name, sha256, revision DESC
    ) AS latest WHERE NOT deleted
$$;
CREATE VIEW model AS
    SELECT * FROM (
        SELECT DISTINCT ON (name, sha256) * FROM model_version ORDER BY name, sha256, revision DESC
    ) AS latest WHERE NOT deleted;
GRANT SELECT, INSERT ON model_version TO cw_owner, cw_app;
GRANT SELECT ON model TO cw_owner, cw_app, cw_officer, cw_ingest;

-- Sign-in secrets are not reference data: a changed password leaves no old hash behind.
CREATE TABLE credential (
    username text PRIMARY KEY,
    password_hash text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    failed_attempts integer NOT NULL DEFAULT 0,
    locked_until timestamptz
);
GRANT SELECT, INSERT, UPDATE, DELETE ON credential TO cw_owner, cw_app;
CREATE INDEX site_version_box ON site_version (lon_min, lon_max, lat_min, lat_max);
CREATE INDEX slot_version_site ON slot_version (site_id);
CREATE INDEX asset_version_site ON asset_version (site_id);
CREATE INDEX device_version_site ON device_version (site_id);
