-- What broken glass overrode, in words; NULL where nobody broke it.
ALTER TABLE deployments ADD COLUMN break_glass TEXT;
ALTER TABLE deployment_rollback_events ADD COLUMN break_glass TEXT;
-- Deployments that wait, or waited, for somebody to approve them. What is approved is a sealed release, not a version.
CREATE TABLE approval_requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL REFERENCES environments (name),
    release_id INTEGER NOT NULL REFERENCES releases (id),
    version TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    needed INTEGER NOT NULL,
    requested_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    rejected_at TEXT,
    -- The deployment that used it; it is used once.
    used_by_id INTEGER REFERENCES deployments (id)
);
CREATE INDEX idx_approval_requests_environment ON approval_requests (environment, id);
CREATE TABLE approval_votes (
    request_id INTEGER NOT NULL REFERENCES approval_requests (id),
    -- The person without the machine, so that nobody counts twice.
    person TEXT NOT NULL,
    actor TEXT NOT NULL,
    approves INTEGER NOT NULL,
    reason TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (request_id, person)
);
-- Who may do what. Only a digest of a token is kept.
CREATE TABLE tokens (
    name TEXT PRIMARY KEY NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    roles TEXT NOT NULL,
    environments TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    revoked_by TEXT
);
