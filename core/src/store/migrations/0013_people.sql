-- Tokens of the API that were made while the daemon ran, and who made and cancelled a job.
CREATE TABLE tokens (
    name         TEXT PRIMARY KEY,
    digest       TEXT NOT NULL,                 -- SHA-256 of the token, hex; the token itself is not stored
    role         TEXT NOT NULL,                 -- read, build, admin
    repositories TEXT NOT NULL,                 -- JSON, a list of owner/* and owner/repo; empty: all
    created      BIGINT NOT NULL,
    created_by   TEXT NOT NULL,                 -- the name of the token that made it
    used         BIGINT                         -- when it was used last, to the hour
);
CREATE UNIQUE INDEX tokens_by_digest ON tokens (digest);

ALTER TABLE jobs ADD COLUMN created_by TEXT;                          -- a token's name, or a webhook's sender
ALTER TABLE jobs ADD COLUMN cancelled_by TEXT;                        -- a token's name
