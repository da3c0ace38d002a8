-- Deployments that stop short of all traffic, and how they go on. One that is open keeps its slot `staged`.
CREATE TABLE rollouts (
    deployment_id INTEGER PRIMARY KEY REFERENCES deployments (id) ON DELETE CASCADE,
    environment TEXT NOT NULL REFERENCES environments (name),
    release_id INTEGER NOT NULL REFERENCES releases (id),
    slot TEXT NOT NULL,
    course TEXT NOT NULL,
    -- Percent of the traffic, and since when.
    weight INTEGER NOT NULL,
    since TEXT NOT NULL,
    -- When it is taken on without being told to.
    next_at TEXT,
    -- Who keeps it where it is, or why.
    paused TEXT,
    ended_at TEXT
);
CREATE UNIQUE INDEX idx_rollouts_open ON rollouts (environment) WHERE ended_at IS NULL;
