-- Each record of the audit trail carries the SHA-256 of its content and of the record before it. Records from before this
-- migration get theirs at its end, by the program, in one transaction.
ALTER TABLE audit ADD COLUMN hash TEXT;
-- The newest record, which the next one follows. `hash` is NULL until the older records are in the chain.
CREATE TABLE audit_head (
    one BIGINT PRIMARY KEY NOT NULL CHECK (one = 1),
    id BIGINT NOT NULL,
    hash TEXT,
    at TEXT
);
INSERT INTO audit_head (one, id) VALUES (1, 0);
-- How many refusals were recorded in an environment since when, and how many were only counted.
CREATE TABLE refusal_counts (
    environment TEXT PRIMARY KEY NOT NULL,
    since TEXT NOT NULL,
    recorded BIGINT NOT NULL,
    counted BIGINT NOT NULL,
    last TEXT NOT NULL
);
-- An older program that still runs is told so, instead of writing past the chain; and no hand slips.
CREATE FUNCTION audit_is_chained() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a newer orchestrate brought this database up to date; restart the daemon with the newer program';
END $$;
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'records of the audit trail are only added';
END $$;
CREATE TRIGGER audit_is_chained BEFORE INSERT ON audit FOR EACH ROW WHEN (NEW.hash IS NULL)
    EXECUTE FUNCTION audit_is_chained();
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit FOR EACH ROW WHEN (OLD.hash IS NOT NULL)
    EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stays();
