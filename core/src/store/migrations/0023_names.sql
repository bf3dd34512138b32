-- An admin asked for the job, so that it may set the tags of protected refs.
ALTER TABLE jobs ADD COLUMN by_admin BOOLEAN NOT NULL DEFAULT FALSE;
-- The protected ref whose job set the tag, if one ever did.
ALTER TABLE tags ADD COLUMN protected_ref TEXT;
-- The repository's own image name, without a tag, where another repository has the one of IMAGE_NAME.
ALTER TABLE jobs ADD COLUMN own_name TEXT;
-- Who had a name first that the hash of one repository gives to two.
CREATE TABLE image_names (
    image      TEXT NOT NULL PRIMARY KEY,       -- registry/path, in lower case and without a tag
    repository TEXT NOT NULL                    -- owner/repo, as jobs.repository
);
