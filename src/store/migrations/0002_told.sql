-- What a job is in the queue, and why it failed.
ALTER TABLE jobs ADD COLUMN repository TEXT NOT NULL DEFAULT '';      -- owner/repo in lower case
ALTER TABLE jobs ADD COLUMN branch TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN origin TEXT NOT NULL DEFAULT 'api';       -- hook, api, rebuild, missed
ALTER TABLE jobs ADD COLUMN dialect TEXT NOT NULL DEFAULT 'totem';
ALTER TABLE jobs ADD COLUMN git_ref TEXT;                             -- of a push: refs/…
ALTER TABLE jobs ADD COLUMN before TEXT;                              -- what it named before the push
ALTER TABLE jobs ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN class TEXT;                               -- of what ended it, or its last attempt
ALTER TABLE jobs ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;       -- attempts that infrastructure ended
ALTER TABLE jobs ADD COLUMN engine TEXT;                              -- of its last attempt
ALTER TABLE jobs ADD COLUMN not_before BIGINT NOT NULL DEFAULT 0;     -- it rests until then
ALTER TABLE jobs ADD COLUMN rebuild_of TEXT;
ALTER TABLE jobs ADD COLUMN superseded_by TEXT;                       -- the newer commit
UPDATE jobs SET
    repository = lower((context ->> 'owner') || '/' || (context ->> 'repo')),
    branch = context ->> 'branch';
CREATE INDEX jobs_by_branch ON jobs (repository, branch, id);

-- Where a notification goes, and what it must not overtake.
ALTER TABLE outbox ADD COLUMN destination TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN lane TEXT NOT NULL DEFAULT '';

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
