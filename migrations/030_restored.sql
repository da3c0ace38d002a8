-- Since when an environment's records come from a backup and may not be what runs: until then nothing is changed there.
ALTER TABLE leases ADD COLUMN restored_at TEXT;
