-- Since when a release's artifact is not kept any more. The record stays; deploying the release again makes this NULL.
ALTER TABLE releases ADD COLUMN pruned_at TEXT;
