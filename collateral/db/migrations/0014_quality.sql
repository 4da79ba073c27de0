-- What is doubted in readings: stretches of consecutive readings with the same flags (iot.quality.Flag), ends included. Made of
-- reading alone and rebuildable from it, so a stretch that is judged anew is replaced.
CREATE TABLE reading_quality (
    series_id integer NOT NULL,
    time_from timestamptz NOT NULL,
    time_to timestamptz NOT NULL CHECK (time_to >= time_from),
    readings integer NOT NULL CHECK (readings > 0),
    flags integer NOT NULL CHECK (flags > 0),
    -- By how much the device's clock is ahead, where it is off by a stable amount.
    clock_ahead_s double precision,
    version integer NOT NULL,
    judged_at timestamptz NOT NULL,
    PRIMARY KEY (series_id, time_from)
);

-- Which blocks of a series are judged, by which version of the rules, and which wait to be. A reading of a judged block without
-- a stretch above is not doubted.
CREATE TABLE reading_judged (
    series_id integer NOT NULL,
    block_from timestamptz NOT NULL,
    block_to timestamptz NOT NULL CHECK (block_to > block_from),
    due boolean NOT NULL DEFAULT true,
    readings integer,
    version integer,
    judged_at timestamptz,
    PRIMARY KEY (series_id, block_from)
);
CREATE INDEX reading_judged_due ON reading_judged (series_id) WHERE due;

GRANT SELECT, INSERT, UPDATE, DELETE ON reading_quality, reading_judged TO cw_app, cw_owner;
