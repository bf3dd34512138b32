use super::*;
use crate::model::SkipReason;

#[tokio::test]
async fn a_delivery_makes_one_job_in_24_hours() {
    let (_dir, store) = open().await;
    let Added::New(first) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    let Added::Duplicate(again) = store.add_job(new("b"), delivery("1")).await.unwrap() else { panic!() };
    assert_eq!(again, first);
    let Added::New(other) = store.add_job(new("a"), delivery("2")).await.unwrap() else { panic!() };
    let elsewhere = delivery("1").map(|d| NewDelivery { route: "/elsewhere", ..d });
    assert!(matches!(store.add_job(new("a"), elsewhere).await.unwrap(), Added::New(_)));
    assert_eq!(store.jobs(9, None).await.unwrap().len(), 3);

    sql(&store, "UPDATE deliveries SET received = received - 24 * 3600 * 1000 - 1 WHERE digest = '1'").await;
    let Added::New(next_day) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    let Added::Duplicate(again) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    assert_eq!(again.id, next_day.id);
    assert_ne!(next_day.id, other.id);
}

#[tokio::test]
async fn a_delivery_is_kept_with_its_repeats_for_30_days() {
    let (_dir, store) = open().await;
    let Added::New(first) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    for _ in 0..3 {
        store.add_job(new("a"), delivery("1")).await.unwrap();
    }
    let kept = store.deliveries(&RepoLimits::default(), 9, None).await.unwrap();
    assert_eq!(
        (kept.len(), kept[0].repeats, kept[0].job, &kept[0].context.repo),
        (1, 3, Some(first.id), &"a".to_owned())
    );
    assert!(kept[0].repeated >= Some(kept[0].received));
    // The same two days later is another one, and the first is still there.
    sql(&store, "UPDATE deliveries SET received = received - 2 * 24 * 3600 * 1000").await;
    let Added::New(second) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    store.add_job(new("a"), None).await.unwrap();
    let kept = store.deliveries(&RepoLimits::default(), 9, None).await.unwrap();
    assert_eq!(
        kept.iter().map(|d| (d.job, d.repeats)).collect::<Vec<_>>(),
        [(Some(second.id), 0), (Some(first.id), 3)]
    );
    assert_eq!(store.deliveries(&RepoLimits::default(), 9, Some(kept[0].id)).await.unwrap(), kept[1..]);
    assert_eq!(store.delivery(kept[1].id).await.unwrap().as_ref(), Some(&kept[1]));
    assert_eq!(store.delivery(uuid::Uuid::now_v7()).await.unwrap(), None);

    let later = |days: u64| Millis::now() + Duration::from_secs(days * 24 * 3600);
    assert_eq!(store.delete_old_deliveries(later(29)).await.unwrap(), 0);
    assert_eq!(store.delete_old_deliveries(later(31)).await.unwrap(), 2);
    assert_eq!(store.deliveries(&RepoLimits::default(), 9, None).await.unwrap(), []);
    assert_eq!(store.jobs(9, None).await.unwrap().len(), 3);
}

/// Whichever comes first, the webhook or who looks for what is missed.
#[tokio::test]
async fn a_commit_that_was_missed_and_its_webhook_are_one_job() {
    let (_dir, store) = open().await;
    let of = |repo: &str, branch: &str, commit: &str, origin| {
        let context = JobContext { branch: branch.into(), commit: commit.into(), ..context(repo) };
        let git_ref = Some(format!("refs/heads/{branch}"));
        NewJob { origin, git_ref, ..NewJob::new(context, image()) }
    };
    let hook = |branch: &str, commit: &str| of("a", branch, commit, Origin::Hook);
    let missed = |branch: &str, commit: &str| of("A", branch, commit, Origin::Missed);
    let Added::New(_) = store.add_job(hook("x", "1"), delivery("1")).await.unwrap() else { panic!() };
    assert_eq!(store.add_missed(missed("x", "1"), JobId::new(), false).await.unwrap(), None);
    let found = store.add_missed(missed("x", "2"), JobId::new(), false).await.unwrap().unwrap();
    assert_eq!(store.add_missed(missed("x", "2"), JobId::new(), false).await.unwrap(), None);
    let Added::Duplicate(same) = store.add_job(hook("x", "2"), delivery("2")).await.unwrap() else { panic!() };
    assert_eq!((same.id, same.origin), (found.id, Origin::Missed));
    // On another branch it is another push, and so it is when another one came between.
    let Added::New(_) = store.add_job(hook("y", "2"), delivery("3")).await.unwrap() else { panic!() };
    let Added::New(_) = store.add_job(hook("x", "3"), delivery("4")).await.unwrap() else { panic!() };
    let Added::New(_) = store.add_job(hook("x", "2"), delivery("5")).await.unwrap() else { panic!() };
    // At once: one of the two.
    let (by_hook, by_look) = tokio::join!(
        store.add_job(hook("x", "6"), delivery("6")),
        store.add_missed(missed("x", "6"), JobId::new(), false)
    );
    let is_new = matches!(by_hook.unwrap(), Added::New(_));
    assert_ne!(is_new, by_look.unwrap().is_some());
    // A head that was read before another push came may be an old one.
    let asked = JobId::new();
    store.add_job(hook("x", "8"), delivery("8")).await.unwrap();
    assert_eq!(store.add_missed(missed("x", "7"), asked, false).await.unwrap(), None);
    // A job that was asked for by a name, and found to be this commit, counts too.
    let job = add(&store, "b").await;
    while store.claim("n", LEASE).await.unwrap().is_some_and(|claimed| claimed.id != job.id) {}
    store.finish(job.id, 1, &outcome(Status::Success)).await.unwrap();
    assert_eq!(
        store.add_missed(of("b", "develop", commit().as_str(), Origin::Missed), JobId::new(), false).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn branches_are_known_by_their_webhooks() {
    let (_dir, store) = open().await;
    let push = |repo: &str, branch: &str, git_ref: &str, commit: &str| {
        let context = JobContext { branch: branch.into(), commit: commit.into(), ..context(repo) };
        NewJob { origin: Origin::Hook, git_ref: Some(git_ref.into()), ..NewJob::new(context, image()) }
    };
    for (repo, branch, git_ref, commit) in [
        ("b", "x", "refs/heads/x", "1"),
        ("b", "x", "refs/heads/x", "2"),
        ("b", "v1", "refs/tags/v1", "3"),
        ("b", "develop", "refs/heads/develop", "4"),
        ("c", "v1", "refs/tags/v1", "5"),
    ] {
        store.add_job(push(repo, branch, git_ref, commit), None).await.unwrap();
    }
    add(&store, "a").await;
    let (mut last, mut known) = (String::new(), Vec::new());
    while let Some((repository, branches)) = store.known_branches(&last).await.unwrap() {
        let branches: Vec<_> = branches.into_iter().map(|b| (b.context.branch, b.context.commit)).collect();
        known.push((repository.clone(), branches));
        last = repository;
    }
    let of_b = [("x", "2"), ("develop", "4")].map(|(branch, commit)| (branch.to_owned(), commit.to_owned()));
    assert_eq!(known, [("acme/a".into(), vec![]), ("acme/b".into(), of_b.into()), ("acme/c".into(), vec![])]);
}

#[tokio::test]
async fn deliveries_of_before_keep_their_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image-factory.db");
    std::fs::write(&file, "").unwrap();
    let old = SqlConnection::open(&file).unwrap();
    sqlite::migrate_to(&old, &file, 1).unwrap();
    let context = serde_json::to_string(&context("a")).unwrap();
    let (job, received) = (JobId::new(), Millis::now());
    old.execute(
        "INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, cancel_requested, created) \
           VALUES ($1, $2, 1, 'i', 'success', 1, '[]', 0, $3)",
        &[&job, &context, &received],
    )
    .unwrap();
    let delivery_of_before = "INSERT INTO deliveries VALUES ('/hooks/github', '1', 'an id', 'push', $1, $2)";
    old.execute(delivery_of_before, &[&job, &received]).unwrap();
    drop(old);

    let store = Store::open(dir.path()).await.unwrap();
    let kept = store.deliveries(&RepoLimits::default(), 9, None).await.unwrap();
    assert_eq!((kept.len(), kept[0].job, kept[0].received, kept[0].repeats), (1, Some(job), received, 0));
    let Added::Duplicate(same) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    assert_eq!(same.id, job);
}

#[tokio::test]
async fn the_same_delivery_many_times_at_once_makes_one_job() {
    let (_dir, store) = open().await;
    let all = futures_util::future::join_all((0..50).map(|_| store.add_job(new("a"), delivery("1")))).await;
    let new = all.into_iter().filter(|added| matches!(added.as_ref().unwrap(), Added::New(_))).count();
    assert_eq!(new, 1);
    assert_eq!(store.jobs(9, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_skipped_delivery_is_kept_and_becomes_a_job_once_it_is_wanted() {
    let (_dir, store) = open().await;
    let skip = async |body: &str| store.skip(new("a"), delivery(body).unwrap(), SkipReason::Branches).await.unwrap();
    assert!(matches!(skip("1").await, Skipped::New));
    assert!(matches!(skip("1").await, Skipped::Repeated));
    let kept = store.deliveries(&RepoLimits::default(), 9, None).await.unwrap();
    assert_eq!((kept.len(), kept[0].job, kept[0].skipped), (1, None, Some(SkipReason::Branches)));
    assert_eq!((kept[0].repeats, kept[0].pushed, &kept[0].context.repo), (1, true, &"a".to_owned()));
    assert!(store.jobs(9, None).await.unwrap().is_empty());

    let Added::New(job) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    let kept = store.deliveries(&RepoLimits::default(), 9, None).await.unwrap();
    assert_eq!((kept.len(), kept[0].job, kept[0].skipped), (1, Some(job.id), None));
    let Skipped::Built(same) = skip("1").await else { panic!() };
    assert_eq!(same.id, job.id);
    assert_eq!(store.deliveries(&RepoLimits::default(), 9, None).await.unwrap()[0].skipped, None);
}

/// The sweep must not build what a webhook's message forbade.
#[tokio::test]
async fn a_commit_that_was_skipped_for_its_message_is_no_missed_one() {
    let (_dir, store) = open().await;
    let of = |commit: &str, origin| {
        let context = JobContext { branch: "x".into(), commit: commit.into(), ..context("a") };
        NewJob { origin, git_ref: Some("refs/heads/x".into()), ..NewJob::new(context, image()) }
    };
    for (commit, reason) in [("1", SkipReason::SkipWords), ("2", SkipReason::Branches)] {
        store.skip(of(commit, Origin::Hook), delivery(commit).unwrap(), reason).await.unwrap();
    }
    let missed =
        async |commit: &str| store.add_missed(of(commit, Origin::Missed), JobId::new(), false).await.unwrap().is_some();
    assert!(!missed("1").await && missed("2").await && missed("3").await);
}
