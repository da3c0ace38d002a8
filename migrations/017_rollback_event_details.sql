-- What more a rollback event tells: where, from what, who, why, and how it went.
ALTER TABLE deployment_rollback_events ADD COLUMN environment TEXT NOT NULL DEFAULT '';
ALTER TABLE deployment_rollback_events ADD COLUMN from_version TEXT;
ALTER TABLE deployment_rollback_events ADD COLUMN from_release_id INTEGER;
ALTER TABLE deployment_rollback_events ADD COLUMN target_release_id INTEGER;
ALTER TABLE deployment_rollback_events ADD COLUMN actor TEXT NOT NULL DEFAULT '';
ALTER TABLE deployment_rollback_events ADD COLUMN reason TEXT;
ALTER TABLE deployment_rollback_events ADD COLUMN triggered_by TEXT NOT NULL DEFAULT 'manual';
ALTER TABLE deployment_rollback_events ADD COLUMN path TEXT NOT NULL DEFAULT 'none';
ALTER TABLE deployment_rollback_events ADD COLUMN phases TEXT NOT NULL DEFAULT '[]';
ALTER TABLE deployment_rollback_events ADD COLUMN undoes_id INTEGER;
CREATE INDEX idx_deployment_rollback_events_environment ON deployment_rollback_events (environment, id);
