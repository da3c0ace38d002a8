-- What one version is in one environment. Rows are never changed but for lineage and proven_at, each set once.
CREATE TABLE releases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL REFERENCES environments (name),
    version TEXT NOT NULL,
    artifact_digest TEXT NOT NULL,
    content_digest TEXT NOT NULL,
    contents TEXT NOT NULL,
    sealed_at TEXT NOT NULL,
    lineage INTEGER,
    proven_at TEXT,
    UNIQUE (environment, version, content_digest)
);
CREATE INDEX idx_releases_environment_lineage ON releases (environment, lineage);
