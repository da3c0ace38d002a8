-- What became of the commands of a release that were run around a deployment or a rollback, with the end of their output.
ALTER TABLE deployments ADD COLUMN hooks TEXT NOT NULL DEFAULT '[]';
ALTER TABLE deployment_rollback_events ADD COLUMN hooks TEXT NOT NULL DEFAULT '[]';
