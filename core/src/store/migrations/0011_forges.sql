ALTER TABLE jobs ADD COLUMN default_branch TEXT;                      -- as the webhook of the push named it

-- A push that was skipped has a delivery without a job. Its row has what a job would be made of.
CREATE TABLE all_deliveries (
    id             TEXT PRIMARY KEY,            -- UUIDv7: sorts by the time of its coming
    route          TEXT NOT NULL,
    digest         TEXT NOT NULL,               -- SHA-256 of the signed text, hex
    delivery       TEXT,                        -- the sender's id of it
    forge          TEXT NOT NULL,               -- github, gitea, forgejo, gogs
    event          TEXT NOT NULL,
    job            TEXT,                        -- none: it was skipped
    reason         TEXT,                        -- why it was skipped
    received       BIGINT NOT NULL,
    newest         BIGINT NOT NULL,             -- of its route and digest: the dedupe mark
    repeats        BIGINT NOT NULL,
    repeated       BIGINT,                      -- when it came again last
    context        TEXT,                        -- this and what follows: of a skipped push, as in jobs
    repository     TEXT,
    commit_id      TEXT,
    git_ref        TEXT,
    before         TEXT,
    pushed         BIGINT,
    forced         BIGINT,
    default_branch TEXT,
    dialect        TEXT
);
INSERT INTO all_deliveries (id, route, digest, delivery, forge, event, job, received, newest, repeats, repeated)
    SELECT id, route, digest, delivery, 'github', event, job, received, newest, repeats, repeated FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE all_deliveries RENAME TO deliveries;
CREATE UNIQUE INDEX deliveries_newest ON deliveries (route, digest) WHERE newest = 1;
CREATE INDEX deliveries_skipped ON deliveries (commit_id) WHERE job IS NULL;
