-- Since when a job waits for a secret that is stored and cannot be used.
ALTER TABLE jobs ADD COLUMN held_since BIGINT;
CREATE INDEX jobs_held ON jobs (held_since) WHERE held_since IS NOT NULL;
-- What only an operator can mend.
CREATE INDEX jobs_for_operators ON jobs (end_time) WHERE class IN ('config', 'git-host');
