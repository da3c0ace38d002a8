-- When the commit of a release was made, where it came from git: for the lead time in reports.
ALTER TABLE releases ADD COLUMN committed_at TEXT;
-- Reports read by time.
CREATE INDEX idx_deployments_started_at ON deployments (started_at);
