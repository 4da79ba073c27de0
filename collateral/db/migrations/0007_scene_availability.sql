-- When a scene could first be had (null: not told), and the right to follow a file that was moved.
ALTER TABLE scene ADD COLUMN available_at timestamptz;
GRANT UPDATE (path) ON scene TO cw_app, cw_owner;
CREATE INDEX scan_result_scanned ON scan_result (site_id, scene_id);
