CREATE TABLE deployments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL REFERENCES environments (name),
    release_id INTEGER NOT NULL REFERENCES releases (id),
    version TEXT NOT NULL,
    provider TEXT NOT NULL,
    strategy TEXT NOT NULL,
    status TEXT NOT NULL,
    error_message TEXT,
    actor TEXT NOT NULL,
    reason TEXT,
    started_at TEXT NOT NULL,
    completed_at TEXT,
    went_live_at TEXT,
    bake_until TEXT,
    -- The rollback that went back past this deployment without being a rollback of it.
    passed_by_rollback_id INTEGER,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX idx_deployments_environment ON deployments (environment, id);
CREATE INDEX idx_deployments_standing ON deployments (environment, id)
    WHERE status <> 'rolled_back' AND passed_by_rollback_id IS NULL;
CREATE INDEX idx_deployments_baking ON deployments (bake_until) WHERE bake_until IS NOT NULL;
CREATE INDEX idx_deployments_release ON deployments (release_id);
