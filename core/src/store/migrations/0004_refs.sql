-- Which image has a tag, and in what order a ref named its commits.
ALTER TABLE tags ADD COLUMN repository TEXT;                          -- owner/repo in lower case, of the job that set it
ALTER TABLE tags ADD COLUMN git_ref TEXT;                             -- refs/…; none: set before this version, or by a job without a ref
ALTER TABLE tags ADD COLUMN job TEXT;
ALTER TABLE tags ADD COLUMN recipe TEXT;                              -- the Dockerfile, target, arguments and platform, for people
ALTER TABLE tags ADD COLUMN moving BIGINT NOT NULL DEFAULT 1;         -- 0: the tag names its commit
ALTER TABLE tags ADD COLUMN named BIGINT NOT NULL DEFAULT 0;          -- 1: a rebuild, or a request for this tag by name, set it
ALTER TABLE tags ADD COLUMN given BIGINT NOT NULL DEFAULT 0;          -- when it was set last
CREATE INDEX tags_fixed ON tags (given) WHERE moving = 0;

-- The push was forced, as its sender said.
ALTER TABLE jobs ADD COLUMN forced BIGINT NOT NULL DEFAULT 0;

-- The commits that fetches found a ref to name.
CREATE TABLE ref_heads (
    repository TEXT NOT NULL,                   -- owner/repo in lower case
    git_ref    TEXT NOT NULL,                   -- refs/…
    commit_id  TEXT NOT NULL,
    seq        BIGINT NOT NULL,                 -- the number of the last fetch that found it; numbers rise, whatever clocks do
    seen       BIGINT NOT NULL,                 -- when that was
    newest     BIGINT NOT NULL,                 -- of its ref
    PRIMARY KEY (repository, git_ref, commit_id)
);
CREATE INDEX ref_heads_newest ON ref_heads (repository, seq) WHERE newest = 1;
CREATE INDEX ref_heads_oldest ON ref_heads (seen);
