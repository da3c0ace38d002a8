-- What was about to be done and what came of it. Rows are only added.
CREATE TABLE journal (
    operation_id BIGINT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    step BIGINT NOT NULL,
    event TEXT NOT NULL,
    detail TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (operation_id, seq)
);
