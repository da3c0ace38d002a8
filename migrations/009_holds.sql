-- Versions that must not be deployed, nor gone back to, in an environment.
CREATE TABLE holds (
    environment TEXT NOT NULL REFERENCES environments (name),
    version TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    since TEXT NOT NULL,
    rollback_id INTEGER,
    PRIMARY KEY (environment, version)
);
