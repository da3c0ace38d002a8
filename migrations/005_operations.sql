-- One deployment or rollback being carried out. `open` and `needs_attention` ones keep others out.
CREATE TABLE operations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL REFERENCES environments (name),
    kind TEXT NOT NULL,
    deployment_id INTEGER NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    rollback_id INTEGER,
    plan TEXT NOT NULL,
    fence INTEGER NOT NULL,
    status TEXT NOT NULL,
    error_message TEXT,
    started_at TEXT NOT NULL,
    ended_at TEXT
);
CREATE UNIQUE INDEX idx_operations_open ON operations (environment)
    WHERE status IN ('open', 'needs_attention');
