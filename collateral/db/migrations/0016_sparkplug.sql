-- Sparkplug B: what the births of edge nodes said, so that aliases keep their meaning over a restart of ingest; and
-- what became of quarantined rows that were tried again.

-- One row an edge node. Times of nodes are milliseconds by the node's own clock, which may be anything; times ending in _us
-- are ours, microseconds since 1970.
CREATE TABLE sparkplug_node (
    group_id text NOT NULL,
    node_id text NOT NULL,
    born_ms bigint NOT NULL,
    bd_seq bigint,
    seq smallint,
    seq_ms bigint NOT NULL,
    died_us bigint NOT NULL,
    alive text[] NOT NULL,
    PRIMARY KEY (group_id, node_id)
);

-- One row for each time that the meaning of the aliases of a node ('' for device_id) or of a device behind it changed.
-- metrics: [name, alias or null, datatype]. after_us: the node's last death before this birth.
CREATE TABLE sparkplug_birth (
    group_id text NOT NULL,
    node_id text NOT NULL,
    device_id text NOT NULL,
    born_ms bigint NOT NULL,
    received_us bigint NOT NULL,
    after_us bigint NOT NULL,
    metrics jsonb NOT NULL,
    PRIMARY KEY (group_id, node_id, device_id, born_ms)
);

-- outcome: 'released' when what the row held was read, 'requarantined' when it fails for another reason (a row of its own).
ALTER TABLE quarantine
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN outcome text CHECK (outcome IN ('released', 'requarantined'));
CREATE INDEX quarantine_open ON quarantine (reason, device_id, quarantine_id) WHERE retried_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON sparkplug_node TO cw_ingest, cw_app, cw_owner;
GRANT SELECT, INSERT ON sparkplug_birth TO cw_ingest, cw_app, cw_owner;
GRANT UPDATE (attempts, outcome) ON quarantine TO cw_ingest, cw_app, cw_owner;
