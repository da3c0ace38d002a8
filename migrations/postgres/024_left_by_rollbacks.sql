-- What a rollback changed besides the release that serves, so that `--undo` restores exactly that.
ALTER TABLE deployment_rollback_events ADD COLUMN left_release_id BIGINT;
ALTER TABLE deployment_rollback_events ADD COLUMN left_deployment_id BIGINT;
ALTER TABLE deployment_rollback_events ADD COLUMN marks TEXT NOT NULL DEFAULT '[]';
