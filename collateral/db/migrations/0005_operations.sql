-- Jobs, audit and what officers may read.
CREATE TABLE job (
    name text PRIMARY KEY,
    command text[] NOT NULL,
    every_s integer NOT NULL CHECK (every_s > 0),
    enabled boolean NOT NULL DEFAULT true,
    next_due_at timestamptz NOT NULL
);
CREATE TABLE job_run (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_name text NOT NULL REFERENCES job,
    due_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    status text NOT NULL CHECK (status IN ('due', 'running', 'done', 'failed', 'lost')),
    exit_code integer,
    output_tail text NOT NULL DEFAULT '',
    UNIQUE (job_name, due_at)
);
CREATE INDEX job_run_status ON job_run (status, due_at);

CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT, UPDATE ON job, job_run TO cw_app, cw_owner;
GRANT SELECT, INSERT ON audit TO cw_app, cw_owner, cw_ingest, cw_officer;

-- Officers never read hypertables directly: chunks do not inherit row-level policies. The setting collateral.branch, put by
-- the application for each transaction, narrows these views to one branch; empty means all branches.
CREATE VIEW officer_loan WITH (security_barrier) AS
    SELECT * FROM loan
    WHERE coalesce(current_setting('collateral.branch', true), '') IN ('', branch);
CREATE VIEW officer_site WITH (security_barrier) AS
    SELECT * FROM site s
    WHERE EXISTS (SELECT FROM loan_site ls JOIN officer_loan l USING (loan_id) WHERE ls.site_id = s.site_id);
CREATE VIEW officer_observation WITH (security_barrier) AS
    SELECT o.* FROM observation o WHERE o.site_id IN (SELECT site_id FROM officer_site);
CREATE VIEW officer_score WITH (security_barrier) AS
    SELECT c.* FROM score c
    WHERE (c.subject_kind = 'site' AND c.subject_id IN (SELECT site_id FROM officer_site))
       OR (c.subject_kind = 'loan' AND c.subject_id IN (SELECT loan_id FROM officer_loan));
CREATE VIEW officer_alert WITH (security_barrier) AS
    SELECT a.* FROM alert_current a WHERE a.site_id IN (SELECT site_id FROM officer_site);
CREATE VIEW officer_rollup WITH (security_barrier) AS
    SELECT r.*, s.device_id, s.quantity, d.site_id
    FROM rollup r JOIN series s USING (series_id) JOIN device d USING (device_id)
    WHERE d.site_id IN (SELECT site_id FROM officer_site);
REVOKE SELECT ON site, loan FROM cw_officer;
GRANT SELECT ON officer_loan, officer_site, officer_observation, officer_score, officer_alert, officer_rollup TO cw_officer, cw_app;
GRANT SELECT ON scene, scan_result, job_run TO cw_officer;
