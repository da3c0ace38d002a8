-- Rehearsals of rollbacks, beside the history of what went live: they move nothing in it.
CREATE TABLE drills (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL REFERENCES environments (name),
    operation_id INTEGER,
    live_version TEXT NOT NULL,
    live_release_id INTEGER NOT NULL,
    target_version TEXT NOT NULL,
    target_release_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    status TEXT NOT NULL,
    error_message TEXT,
    triggered_by TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    phases TEXT NOT NULL DEFAULT '[]',
    started_at TEXT NOT NULL,
    completed_at TEXT,
    duration_ms INTEGER,
    -- Who wants to act here and waits for its end.
    wanted_by TEXT
);
CREATE INDEX idx_drills_environment ON drills (environment, id);
CREATE INDEX idx_drills_operation ON drills (operation_id);
-- The last time of its schedule that a daemon took up in an environment: of several, one does.
CREATE TABLE drill_turns (
    environment TEXT PRIMARY KEY NOT NULL REFERENCES environments (name),
    due_at TEXT NOT NULL
);
