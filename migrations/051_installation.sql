-- Which database this is: a random number, on everything that is put into a swarm for it. It stays with the records when they
-- are moved to another server; a copy has the same.
CREATE TABLE installation (id TEXT NOT NULL);
INSERT INTO installation (id) VALUES (lower(hex(randomblob(16))));
