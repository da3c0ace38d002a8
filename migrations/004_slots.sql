-- Which release has instances where. A slot that is not used has no row.
CREATE TABLE slots (
    environment TEXT NOT NULL REFERENCES environments (name),
    slot TEXT NOT NULL,
    release_id INTEGER NOT NULL REFERENCES releases (id),
    state TEXT NOT NULL,
    since TEXT NOT NULL,
    until TEXT,
    PRIMARY KEY (environment, slot)
);
