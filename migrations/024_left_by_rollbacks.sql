-- What a rollback changed besides the release that serves, so that `--undo` restores exactly that.
ALTER TABLE deployment_rollback_events ADD COLUMN left_release_id INTEGER;
ALTER TABLE deployment_rollback_events ADD COLUMN left_deployment_id INTEGER;
ALTER TABLE deployment_rollback_events ADD COLUMN marks TEXT NOT NULL DEFAULT '[]';
