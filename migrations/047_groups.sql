-- Which environments another one needs; what is sealed with its live release says what of them. Only ever added to.
CREATE TABLE dependencies (
    dependant TEXT NOT NULL REFERENCES environments (name),
    dependency TEXT NOT NULL,
    PRIMARY KEY (dependency, dependant)
);
-- Several environments that go back together, and what became of each.
CREATE TABLE group_rollbacks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_name TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    forced INTEGER NOT NULL,
    status TEXT NOT NULL,
    error_message TEXT,
    started_at TEXT NOT NULL,
    completed_at TEXT,
    -- The program that carries it on, and until when it is taken to be alive where that cannot be seen.
    holder TEXT NOT NULL,
    renewed_at TEXT NOT NULL
);
CREATE INDEX idx_group_rollbacks_open ON group_rollbacks (id) WHERE completed_at IS NULL;
CREATE TABLE group_rollback_parts (
    group_id INTEGER NOT NULL REFERENCES group_rollbacks (id),
    -- In the order in which they go back.
    position INTEGER NOT NULL,
    environment TEXT NOT NULL REFERENCES environments (name),
    from_version TEXT NOT NULL,
    target_version TEXT NOT NULL,
    -- Set with the beginning of its rollback, and of the rollback by which it went forward again.
    rollback_id INTEGER REFERENCES deployment_rollback_events (id),
    undo_id INTEGER REFERENCES deployment_rollback_events (id),
    PRIMARY KEY (group_id, position)
);
CREATE INDEX idx_group_rollback_parts_environment ON group_rollback_parts (environment, group_id);
