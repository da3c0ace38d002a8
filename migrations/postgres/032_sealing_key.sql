-- Which key the secrets are sealed with, by its fingerprint: one row, from the first secret on. Whoever seals takes this row
-- first, so that a rotation and a deployment at the same time come one after the other.
CREATE TABLE sealing_key (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    fingerprint TEXT NOT NULL,
    since TEXT NOT NULL
);
