-- The names that a job's image got, and what its request was allowed.
ALTER TABLE jobs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';          -- JSON, a list of tag results
ALTER TABLE jobs ADD COLUMN tag_named BIGINT NOT NULL DEFAULT 0;      -- the request named the tag
ALTER TABLE jobs ADD COLUMN any_commit BIGINT NOT NULL DEFAULT 0;     -- an admin asked: no branch or tag need reach the commit
