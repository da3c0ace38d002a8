-- Each record of the audit trail carries the SHA-256 of its content and of the record before it. Records from before this
-- migration get theirs at its end, by the program, in one transaction.
ALTER TABLE audit ADD COLUMN hash TEXT;
-- The newest record, which the next one follows. `hash` is NULL until the older records are in the chain.
CREATE TABLE audit_head (
    one INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    id INTEGER NOT NULL,
    hash TEXT,
    at TEXT
);
INSERT INTO audit_head (one, id) VALUES (1, 0);
-- How many refusals were recorded in an environment since when, and how many were only counted.
CREATE TABLE refusal_counts (
    environment TEXT PRIMARY KEY NOT NULL,
    since TEXT NOT NULL,
    recorded INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    last TEXT NOT NULL
);
-- An older program that still runs is told so, instead of writing past the chain; and no hand slips.
CREATE TRIGGER audit_is_chained BEFORE INSERT ON audit WHEN NEW.hash IS NULL
BEGIN
    SELECT RAISE(ABORT, 'a newer orchestrate brought this database up to date; restart the daemon with the newer program');
END;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit WHEN OLD.hash IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'records of the audit trail are only added');
END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'records of the audit trail are only added');
END;
