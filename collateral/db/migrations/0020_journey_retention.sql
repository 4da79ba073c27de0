-- Trips and stops go by policy as readings do; nothing before their horizon is made anew.
ALTER TABLE retention_horizon DROP CONSTRAINT retention_horizon_what_check;
ALTER TABLE retention_horizon ADD CONSTRAINT retention_horizon_what_check CHECK (what IN ('reading', 'journey'));
