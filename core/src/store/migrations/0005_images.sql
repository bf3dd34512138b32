-- Which repositories have pushed an image, and by which of their Dockerfiles.
CREATE TABLE image_users (
    image      TEXT NOT NULL,                   -- registry/path, in lower case and without a tag
    repository TEXT NOT NULL,                   -- owner/repo in lower case
    dockerfile TEXT NOT NULL,                   -- the first job's; empty if it named none
    PRIMARY KEY (image, repository)
);
CREATE INDEX image_users_by_repository ON image_users (repository, image);
-- A tag has neither ':' nor '/', so these characters end where the tag begins. Images whose name has no registry stay as they
-- are; the next push adds them with docker.io in front.
INSERT INTO image_users (image, repository, dockerfile)
    SELECT DISTINCT substr(untagged, 1, length(untagged) - 1), repository, ''
    FROM (SELECT rtrim(image, 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-') AS untagged, repository
          FROM jobs WHERE status = 'success') AS pushed;
