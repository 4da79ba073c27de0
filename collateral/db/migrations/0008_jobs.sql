-- Scheduler: a due time that was passed over leaves a row ('missed'); a run that died with its scheduler is 'lost' and tried again.
ALTER TABLE job ADD COLUMN timeout_s integer NOT NULL DEFAULT 21600 CHECK (timeout_s > 0);
ALTER TABLE job_run ADD COLUMN attempt integer NOT NULL DEFAULT 1;
ALTER TABLE job_run ADD COLUMN scheduler text NOT NULL DEFAULT '';
ALTER TABLE job_run DROP CONSTRAINT job_run_status_check;
ALTER TABLE job_run ADD CONSTRAINT job_run_status_check
    CHECK (status IN ('due', 'running', 'done', 'failed', 'lost', 'missed'));
ALTER TABLE job_run DROP CONSTRAINT job_run_job_name_due_at_key;
ALTER TABLE job_run ADD CONSTRAINT job_run_key UNIQUE (job_name, due_at, attempt);
CREATE UNIQUE INDEX job_run_one_at_a_time ON job_run (job_name) WHERE status = 'running';
GRANT DELETE ON job_run TO cw_app, cw_owner;
