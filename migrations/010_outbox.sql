-- Notices, written in the transaction that they tell of, delivered after it.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    notice_key TEXT NOT NULL UNIQUE,
    environment TEXT,
    kind TEXT NOT NULL,
    channel TEXT NOT NULL,
    payload TEXT NOT NULL,
    rollback_id INTEGER,
    status TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT,
    last_error TEXT,
    created_at TEXT NOT NULL,
    delivered_at TEXT
);
CREATE INDEX idx_outbox_due ON outbox (next_attempt_at) WHERE status = 'pending';
CREATE INDEX idx_outbox_rollback ON outbox (rollback_id) WHERE rollback_id IS NOT NULL;
