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
