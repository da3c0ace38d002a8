-- What was seen of a release while it was watched, where the router's counts stood when its deployment began, and why it
-- is not rolled back by itself.
ALTER TABLE deployments ADD COLUMN evidence TEXT NOT NULL DEFAULT '[]';
ALTER TABLE deployments ADD COLUMN marks TEXT;
ALTER TABLE deployments ADD COLUMN automatic_hold TEXT;
ALTER TABLE deployment_rollback_events ADD COLUMN evidence TEXT NOT NULL DEFAULT '[]';
