-- Notices in the order in which they were written: a lane is a channel and an environment, and only the first notice that
-- waits in it is due.
ALTER TABLE outbox ADD COLUMN lane TEXT;
-- The last attempt, and the time that the receiver itself named for the next one.
ALTER TABLE outbox ADD COLUMN attempted_at TEXT;
ALTER TABLE outbox ADD COLUMN wished_until TEXT;
CREATE INDEX idx_outbox_lane ON outbox (lane, id) WHERE status = 'pending';
