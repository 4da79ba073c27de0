-- What a loan's collateral was worth at an evaluation, in the loan's currency; the last row written for a time holds.
CREATE SEQUENCE coverage_id_seq;
CREATE TABLE coverage (
    coverage_id bigint PRIMARY KEY DEFAULT nextval('coverage_id_seq'),
    loan_id text NOT NULL,
    at timestamptz NOT NULL,
    currency char(3) NOT NULL,
    outstanding double precision NOT NULL CHECK (outstanding >= 0),
    value double precision NOT NULL CHECK (value >= 0),
    most double precision NOT NULL CHECK (most >= 0),
    covenant double precision,
    lines jsonb NOT NULL,
    policy_version text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX coverage_loan ON coverage (loan_id, at DESC, coverage_id DESC);
CREATE TRIGGER coverage_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON coverage EXECUTE FUNCTION refuse_change();
CREATE VIEW officer_coverage WITH (security_barrier) AS
    SELECT c.* FROM coverage c WHERE c.loan_id IN (SELECT loan_id FROM officer_loan);
GRANT SELECT, INSERT ON coverage TO cw_owner, cw_app;
GRANT SELECT ON officer_coverage TO cw_officer, cw_app;
GRANT USAGE ON SEQUENCE coverage_id_seq TO cw_owner, cw_app;
