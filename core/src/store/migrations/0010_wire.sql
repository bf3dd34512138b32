-- What a sender called `build` before this version was no option, and must not become one.
UPDATE jobs SET context = json_set(json_remove(context, '$.build'), '$.formerBuild', json(context -> '$.build'))
WHERE CASE WHEN json_valid(context) THEN json_type(context, '$.build') IS NOT NULL END;

-- The options of a build stand under `build` in a job's context. Before this version they stood beside totem's own names,
-- where every other name is the sender's own.
UPDATE jobs SET context = json_set(
    json_remove(context, '$.dockerfile', '$.context', '$.keepGitDir', '$.target', '$.buildArgs', '$.platform', '$.image'),
    '$.build',
    json((
        SELECT json_group_object(key, json(jobs.context -> fullkey)) FROM json_each(jobs.context)
        WHERE key IN ('dockerfile', 'context', 'keepGitDir', 'target', 'buildArgs', 'platform', 'image')
    ))
)
WHERE CASE WHEN json_valid(context) THEN EXISTS (
    SELECT 1 FROM json_each(jobs.context)
    WHERE key IN ('dockerfile', 'context', 'keepGitDir', 'target', 'buildArgs', 'platform', 'image')
) END;

-- When a job changed last, for who asks for changes. The trigger names what an answer shows, so that no write can forget it.
ALTER TABLE jobs ADD COLUMN updated BIGINT NOT NULL DEFAULT 0;
UPDATE jobs SET updated = MAX(created, COALESCE(start_time, 0), COALESCE(end_time, 0));
CREATE TRIGGER jobs_updated AFTER UPDATE OF status, attempt, stages, resolved_commit, digest, cause, class, cancel_requested,
    superseded_by, tags ON jobs
BEGIN
    UPDATE jobs SET updated = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE id = NEW.id;
END;
-- Pending jobs are in none of these, because a webhook would wait for three more pages, two of them at random.
CREATE INDEX jobs_by_update ON jobs (updated) WHERE status <> 'pending';
CREATE INDEX jobs_by_image ON jobs (image) WHERE status <> 'pending';
CREATE INDEX jobs_by_commit ON jobs (COALESCE(resolved_commit, context ->> 'commit')) WHERE status <> 'pending';
