-- What a job is in the queue, and why it failed.
ALTER TABLE jobs ADD COLUMN repository TEXT NOT NULL DEFAULT '';      -- owner/repo in lower case
ALTER TABLE jobs ADD COLUMN branch TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN origin TEXT NOT NULL DEFAULT 'api';       -- hook, api, rebuild, missed
ALTER TABLE jobs ADD COLUMN dialect TEXT NOT NULL DEFAULT 'totem';
ALTER TABLE jobs ADD COLUMN git_ref TEXT;                             -- of a push: refs/…
ALTER TABLE jobs ADD COLUMN before TEXT;                              -- what it named before the push
ALTER TABLE jobs ADD COLUMN after TEXT;                               -- of a push that superseding knows: what its ref names since
ALTER TABLE jobs ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN class TEXT;                               -- of what ended it, or its last attempt
ALTER TABLE jobs ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;       -- attempts that infrastructure ended
ALTER TABLE jobs ADD COLUMN engine TEXT;                              -- of its last attempt
ALTER TABLE jobs ADD COLUMN not_before BIGINT NOT NULL DEFAULT 0;     -- it rests until then, two minutes at most
ALTER TABLE jobs ADD COLUMN rebuild_of TEXT;
ALTER TABLE jobs ADD COLUMN superseded_by TEXT;                       -- the newer commit
UPDATE jobs SET
    repository = lower((context ->> 'owner') || '/' || (context ->> 'repo')),
    branch = context ->> 'branch';
-- GitHub has its outcome, or will never have it: the reconciler is done with it. What ended before this version was not
-- to be told.
ALTER TABLE jobs ADD COLUMN told BIGINT NOT NULL DEFAULT 0;
UPDATE jobs SET told = 1 WHERE end_time IS NOT NULL;
CREATE INDEX jobs_untold ON jobs (end_time) WHERE told = 0 AND end_time IS NOT NULL;
CREATE INDEX jobs_by_branch ON jobs (repository, branch, id);
CREATE INDEX jobs_by_repository ON jobs (repository, id);
CREATE INDEX jobs_waiting ON jobs (repository, priority, id) WHERE status = 'pending' AND not_before = 0;
CREATE INDEX jobs_resting ON jobs (status, not_before) WHERE not_before > 0;
CREATE INDEX jobs_running ON jobs (repository) WHERE status = 'running';
-- Which pushes led to a commit, and away from it.
CREATE INDEX jobs_by_after ON jobs (repository, git_ref, after, before) WHERE after IS NOT NULL;
CREATE INDEX jobs_live ON jobs (repository, git_ref, after, status)
    WHERE after IS NOT NULL AND status IN ('pending', 'running');
CREATE INDEX jobs_by_before ON jobs (repository, git_ref, before, after) WHERE after IS NOT NULL;

-- The repositories' turns in the queue, one row for each priority that a repository had.
CREATE TABLE turns (
    repository TEXT NOT NULL,
    priority   BIGINT NOT NULL,
    turn       BIGINT NOT NULL,                 -- the number of its last one; 0 before the first
    since      TEXT,                            -- the job that waits there longest; a hint, none if nothing waits
    PRIMARY KEY (repository, priority)
);
CREATE INDEX turns_by_number ON turns (turn);
CREATE INDEX turns_waiting ON turns (priority DESC, turn, since) WHERE since IS NOT NULL;
INSERT INTO turns (repository, priority, turn, since)
    SELECT repository, priority, 0, MIN(id) FROM jobs WHERE status = 'pending' GROUP BY repository, priority;

-- Which commit an image's tag was last given, of tags that do not name a commit themselves.
CREATE TABLE tags (
    image     TEXT PRIMARY KEY,                 -- with registry and tag
    commit_id TEXT NOT NULL
);

-- Where a notification goes, and what it must not overtake.
ALTER TABLE outbox ADD COLUMN destination TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN lane TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN expires BIGINT NOT NULL DEFAULT 0;      -- it is tried until then
-- What was written before there were lanes waits for nothing else. A new state: replaced.
UPDATE outbox SET lane = id, expires = created + 86400000;
CREATE INDEX outbox_places ON outbox (state, channel, destination, next_at);
CREATE INDEX outbox_lanes ON outbox (lane, id) WHERE state IN ('due', 'dead');
CREATE INDEX outbox_states ON outbox (state, id);
CREATE INDEX outbox_jobs ON outbox (job, id);

-- A delivery is kept for 30 days, with nothing of its headers and its body: what it asked for is its job's. What comes
-- again within 24 hours is counted with it.
CREATE TABLE kept_deliveries (
    id       TEXT PRIMARY KEY,                  -- UUIDv7: sorts by the time of its coming
    route    TEXT NOT NULL,
    digest   TEXT NOT NULL,                     -- SHA-256 of the raw body, hex
    delivery TEXT,                              -- the sender's id of it
    event    TEXT NOT NULL,
    job      TEXT NOT NULL,
    received BIGINT NOT NULL,
    newest   BIGINT NOT NULL,                   -- of its route and digest: the dedupe mark
    repeats  BIGINT NOT NULL,
    repeated BIGINT                             -- when it came again last
);
-- A job's id is a UUIDv7 of the same time, and no two deliveries had one job.
INSERT INTO kept_deliveries (id, route, digest, delivery, event, job, received, newest, repeats)
    SELECT job, route, digest, delivery, event, job, received, 1, 0 FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE kept_deliveries RENAME TO deliveries;
CREATE UNIQUE INDEX deliveries_newest ON deliveries (route, digest) WHERE newest = 1;

-- How many jobs have ended how: to count a million of them would take a second.
CREATE TABLE ended (
    status TEXT NOT NULL,
    class  TEXT NOT NULL,                       -- empty: none
    jobs   BIGINT NOT NULL,
    PRIMARY KEY (status, class)
);
INSERT INTO ended (status, class, jobs)
    SELECT status, '', COUNT(*) FROM jobs WHERE status IN ('success', 'failure', 'cancelled') GROUP BY status;
-- What waits and what is dead is counted by channel.
CREATE INDEX outbox_by_channel ON outbox (state, channel, created);
