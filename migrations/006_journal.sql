-- What was about to be done and what came of it. Rows are only added.
CREATE TABLE journal (
    operation_id INTEGER NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    step INTEGER NOT NULL,
    event TEXT NOT NULL,
    detail TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (operation_id, seq)
);
