-- The change of data that a person let a rollback cross, with `--force` and `--reason`.
ALTER TABLE deployment_rollback_events ADD COLUMN crossed TEXT;
