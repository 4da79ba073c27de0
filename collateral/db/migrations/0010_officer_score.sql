-- The OR of two sub-selects kept the planner from looking up one site's scores by index (0.8 s instead of 0.02 s a site at
-- 100,000 sites); as two branches each condition is pushed down.
CREATE OR REPLACE VIEW officer_score WITH (security_barrier) AS
    SELECT c.* FROM score c
    WHERE c.subject_kind = 'site' AND c.subject_id IN (SELECT site_id FROM officer_site)
    UNION ALL
    SELECT c.* FROM score c
    WHERE c.subject_kind = 'loan' AND c.subject_id IN (SELECT loan_id FROM officer_loan);
