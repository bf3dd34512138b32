-- A job of a commit alone counted as one of the branch that totem's wire has by default.
UPDATE jobs SET branch = '' WHERE context ->> 'branch' IS NULL AND context ->> 'commit' NOT IN ('', 'HEAD');
