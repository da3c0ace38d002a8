-- Where services run. Deleted ones keep their row, because their history refers to it.
CREATE TABLE environments (
    name TEXT PRIMARY KEY NOT NULL,
    service TEXT NOT NULL,
    settings TEXT NOT NULL,
    channels TEXT NOT NULL DEFAULT '[]',
    live_release_id BIGINT,
    live_deployment_id BIGINT,
    live_since TEXT,
    lineage BIGINT NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    deleted_at TEXT
);
