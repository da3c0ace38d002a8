-- Secret values, encrypted; a release names the version it was sealed with.
CREATE TABLE secrets (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (scope, name, version)
);
