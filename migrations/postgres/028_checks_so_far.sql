-- What the checks of a release say while it is watched, for whoever looks, and for a watch that goes on after a restart.
ALTER TABLE deployments ADD COLUMN checks TEXT NOT NULL DEFAULT '[]';
