-- Whether a rollback would work, as the daemon saw it last.
CREATE TABLE readiness (
    environment TEXT PRIMARY KEY NOT NULL REFERENCES environments (name),
    report TEXT NOT NULL,
    since TEXT NOT NULL,
    checked_at TEXT NOT NULL,
    -- Whether people were told that it was lost, and not yet that it is back.
    lost BIGINT NOT NULL DEFAULT 0
);
