-- A site may secure loans of several branches: an alert about a loan is shown to the branch of that loan only.
CREATE OR REPLACE VIEW officer_alert WITH (security_barrier) AS
    SELECT a.* FROM alert_current a
    WHERE a.site_id IN (SELECT site_id FROM officer_site)
        AND (a.subject_kind <> 'loan' OR a.subject_id IN (SELECT loan_id FROM officer_loan));
