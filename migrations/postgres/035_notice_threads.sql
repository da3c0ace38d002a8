-- The operation that a notice is about, and what its receiver calls the message: later ones hang on the first.
ALTER TABLE outbox ADD COLUMN subject TEXT;
ALTER TABLE outbox ADD COLUMN receipt TEXT;
CREATE INDEX idx_outbox_subject ON outbox (subject) WHERE receipt IS NOT NULL;
