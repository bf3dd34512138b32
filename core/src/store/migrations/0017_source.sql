-- What a job builds, in JSON: {"dockerfile":"FROM …"}. NULL is a commit of the repository that the context names.
ALTER TABLE jobs ADD COLUMN source TEXT;
