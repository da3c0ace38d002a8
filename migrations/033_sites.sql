-- The homes that share the database: on which machine each is, and until when its daemon counts as alive. Times are in
-- milliseconds by the database's clock, because machines disagree about what time it is.
CREATE TABLE sites (
    id TEXT PRIMARY KEY NOT NULL,
    host TEXT NOT NULL,
    home TEXT NOT NULL,
    -- The daemon that runs there: its process, and the boot of the machine that it is a process of.
    pid INTEGER,
    boot TEXT,
    version TEXT,
    seen_at INTEGER,
    alive_until INTEGER
);
-- Where an environment runs, if its instances are in one home on one machine.
ALTER TABLE environments ADD COLUMN owner TEXT;
-- What one daemon at a time does, and until when it is its turn: looks after an environment of a cluster, delivers to a channel.
CREATE TABLE duties (
    duty TEXT PRIMARY KEY NOT NULL,
    site TEXT NOT NULL,
    until INTEGER NOT NULL
);
