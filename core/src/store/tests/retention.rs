use super::*;

const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// A time at which every job of the test is older than [`KEEP`].
fn later() -> Millis {
    Millis::now() + KEEP + Duration::from_secs(60)
}

#[tokio::test]
async fn old_jobs_go_and_the_newest_of_a_branch_and_what_is_unsent_stay() {
    let (_dir, store) = open().await;
    let mut made = Vec::new();
    for repo in ["a", "a", "b", "a"] {
        let job = add(&store, repo).await.id;
        store.cancel(job, "me").await.unwrap();
        made.push(job);
    }
    let pending = add(&store, "b").await.id;
    assert_eq!(store.delete_old_jobs(Millis::now(), KEEP).await.unwrap(), []);
    // Their notifications are in the outbox.
    assert_eq!(store.delete_old_jobs(later(), KEEP).await.unwrap(), []);
    let kept = made[1];
    let others = move |conn: &SqlConnection| conn.execute("DELETE FROM outbox WHERE job <> $1", &[&kept]);
    store.write(others).await.unwrap();
    assert_eq!(
        store.logs_needed([made.clone(), vec![pending, JobId::new()]].concat()).await.unwrap(),
        [(made[0], false), (made[1], true), (made[2], false), (made[3], true), (pending, true)]
    );
    assert_eq!(store.delete_old_jobs(later(), KEEP).await.unwrap(), [made[0], made[2]]);
    assert_eq!(store.delete_old_jobs(later(), KEEP).await.unwrap(), []);
    for (id, is_there) in [(made[0], false), (made[1], true), (made[2], false), (made[3], true), (pending, true)] {
        assert_eq!(store.job(id).await.unwrap().is_some(), is_there);
    }
}
