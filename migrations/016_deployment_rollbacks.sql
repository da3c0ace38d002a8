-- One attempt to go back.
CREATE TABLE deployment_rollback_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment_id INTEGER NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    target_version TEXT NOT NULL,
    rollback_type TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    error_message TEXT,
    started_at TEXT NOT NULL,
    completed_at TEXT,
    notification_sent INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX idx_deployment_rollback_events_deployment_id ON deployment_rollback_events (deployment_id);
CREATE INDEX idx_deployment_rollback_events_status ON deployment_rollback_events (status);
CREATE INDEX idx_deployment_rollback_events_started_at ON deployment_rollback_events (started_at);
CREATE INDEX idx_deployment_rollback_events_notification_sent ON deployment_rollback_events (notification_sent);
