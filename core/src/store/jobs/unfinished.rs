use crate::model::{Job, JobId};
use crate::store::sqlite::{SqlConnection, StoreFault};

/// The jobs of a repository that have not ended and whose commit is this one. Each part has an index of its own, which has
/// no ended job and so stays small.
const SAME_COMMIT: &str = "\
    SELECT id, image FROM jobs WHERE repository = $1 AND status = 'running' \
    AND COALESCE(resolved_commit, context ->> 'commit') = $2 \
    UNION ALL SELECT id, image FROM jobs WHERE repository = $1 AND status = 'pending' AND not_before = 0 \
    AND COALESCE(resolved_commit, context ->> 'commit') = $2 \
    UNION ALL SELECT id, image FROM jobs WHERE repository = $1 AND status = 'pending' AND not_before > 0 \
    AND COALESCE(resolved_commit, context ->> 'commit') = $2";

/// Returns a job that has not ended and makes the same image, whatever its tag, of the same commit as `job`.
pub(in crate::store) fn same_build(conn: &SqlConnection, job: &Job) -> Result<Option<JobId>, StoreFault> {
    let rows = conn.all(SAME_COMMIT, &[&job.repository, &job.context.commit], |row| {
        Ok((row.get::<_, JobId>("id")?, row.get::<_, String>("image")?))
    })?;
    let name = |image: &str| image.rsplit_once(':').map(|(name, _)| name.to_owned());
    Ok(rows.into_iter().find(|(_, image)| name(image) == name(&job.image)).map(|(id, _)| id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn no_ended_job_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let plan = store.read(|conn| conn.plan(SAME_COMMIT)).await.unwrap();
        let steps: Vec<_> = plan.iter().filter(|step| step.contains(" jobs ")).collect();
        assert_eq!(steps.len(), 3, "{plan:#?}");
        for (step, index) in steps.iter().zip(["jobs_running", "jobs_waiting", "jobs_resting"]) {
            assert!(step.starts_with("SEARCH") && step.contains(index), "{plan:#?}");
        }
    }
}
