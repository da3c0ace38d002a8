-- Who may act in an environment. The fence only grows, and outlives every holder.
CREATE TABLE leases (
    environment TEXT PRIMARY KEY NOT NULL REFERENCES environments (name),
    fence BIGINT NOT NULL,
    operation_id BIGINT,
    holder TEXT,
    acquired_at TEXT,
    expires_at TEXT
);
