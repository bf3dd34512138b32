//! The tags that are of one commit or of a protected ref, whoever asks for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::harness::COMPOSE_CI;

#[tokio::test]
async fn no_tag_reads_like_the_id_of_another_commit() {
    let world = World::start_with(&[("IMAGE_TAGS", "{branch}"), ("DIALECTS", "totem,conveyor")]).await;
    let other = commit(&world, "main");
    world.repo.git(&["tag", "-a", "-m", "release", "v1"]);
    world.repo.git(&["push", "-q", "origin", "v1"]);
    let tag_object = world.repo.git(&["rev-parse", "v1"]);
    let wip = commit(&world, "wip");
    // A request is refused, also for the whole id and that of a tag object.
    for digits in [&other[..7], &*other, &tag_object[..12], &other.to_uppercase()[..12]] {
        let job = asked(&world, json!({"branch": "wip", "tag": digits})).await;
        let job = world.daemon.wait_failure(&job).await;
        let cause = job["cause"].as_str().unwrap();
        let words = format!("the tag {digits} reads like the id of commit {other}, and the image is of {wip}");
        assert!(job["class"] == "source" && cause.contains(&words), "{cause}");
    }
    for name in [&wip[..7], "1234", "20261129", "104523"] {
        let job = world.daemon.wait_success(&asked(&world, json!({"branch": "wip", "tag": name})).await).await;
        has(&world, name, &job).await;
    }
    // The commit of a tag object is the object's own.
    let body = json!({"branch": "v1", "commit": tag_object});
    let job = world.daemon.wait_success(&asked(&world, body).await).await;
    has(&world, &tag_object, &job).await;

    // A branch's tag gets a hash, by whichever door its push comes.
    let branch = &other[..8];
    let of_branch = commit(&world, branch);
    let hook = world.daemon.wait_success(&told(&world, branch, NONE, &of_branch).await).await;
    let names = hook["tags"].as_array().unwrap();
    let [_, further] = names.as_slice() else { panic!("{hook:#}") };
    let further = further["name"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    assert!(further.len() == 17 && further.starts_with(&format!("{branch}-")), "{further}");
    has(&world, &further, &hook).await;
    let log = world.daemon.log(&id(&hook)).await;
    assert!(
        log.contains(&format!("{branch} becomes {further}, because the id of commit {other} begins so\n")),
        "{log}"
    );
    let conveyor = world.daemon.request(Method::POST, "/builds");
    let body = json!({"repository": "acme/hello", "branch": branch, "sha": of_branch});
    let made: Value = conveyor.json(&body).send().await.unwrap().json().await.unwrap();
    let job = world.daemon.wait_success(made["id"].as_str().unwrap()).await;
    has(&world, &further, &job).await;
}

/// Asks with the role `build` for a job, and returns it once it has ended.
async fn asked_by(world: &World, token: &str, path: &str, body: Value) -> Value {
    let request = world.daemon.bare_request(Method::POST, path).bearer_auth(token);
    let made: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
    world.daemon.wait(&id(&made)).await
}

/// Makes a token of the role `build`.
fn build_token(world: &mut World) -> String {
    let added = world.daemon.cli(&["tokens", "add", "ci", "--role", "build"]).run();
    let token = String::from_utf8(added.stdout).unwrap().trim().to_owned();
    world.daemon.guard("a token of the store", &token);
    token
}

#[tokio::test]
async fn the_tags_of_a_protected_branch_are_set_from_elsewhere_by_an_admin() {
    let mut world = World::start_with(&[("IMAGE_TAGS", "latest"), ("PROTECTED", "main")]).await;
    let token = build_token(&mut world);
    let old = commit(&world, "main");
    let first = world.daemon.wait_success(&told(&world, "main", NONE, &old).await).await;
    let new = commit(&world, "main");
    let main = world.daemon.wait_success(&told(&world, "main", &old, &new).await).await;
    has(&world, "latest", &main).await;
    // The template of another branch gives it the same name.
    let wip = commit(&world, "wip");
    let job = world.daemon.wait_success(&told(&world, "wip", NONE, &wip).await).await;
    stays_for(&world, "latest", &job, (&new, &main), "as a tag of refs/heads/main, which is protected").await;
    // The commit's own tag is the protected branch's, too, and the commit's status stays a success.
    let job = world.daemon.wait_failure(&told(&world, "copy", NONE, &new).await).await;
    let cause = job["cause"].as_str().unwrap();
    assert!(cause.contains("as a tag of refs/heads/main, which is protected; a rebuild by an admin"), "{cause}");
    assert_eq!((&job["supersededBy"], json!(world.digest(&new).await)), (&json!(new), main["digest"].clone()));

    let by_name = json!({"owner": "acme", "repo": "hello", "branch": "wip", "tag": "latest"});
    for (path, body) in [("/job".to_owned(), by_name.clone()), (format!("/job/{}/rebuild", id(&first)), json!({}))] {
        let job = asked_by(&world, &token, &path, body).await;
        let cause = job["cause"].as_str().unwrap();
        assert!(cause.contains("is a tag of refs/heads/main, which is protected: have an admin set it"), "{cause}");
    }
    has(&world, "latest", &main).await;
    // The same image may be built again, and an admin may do all of it.
    let again = asked_by(&world, &token, &format!("/job/{}/rebuild", id(&main)), json!({})).await;
    has(&world, "latest", &again).await;
    let by_admin = world.daemon.wait_success(&asked(&world, by_name).await).await;
    has(&world, "latest", &by_admin).await;
    // The tag is still the protected branch's.
    let wip = commit(&world, "wip");
    let job = world.daemon.wait_success(&told(&world, "wip", NONE, &wip).await).await;
    let kept = "as a tag of refs/heads/main, which is protected";
    stays_for(&world, "latest", &job, (by_admin["resolvedCommit"].as_str().unwrap(), &by_admin), kept).await;
    let next = commit(&world, "main");
    let job = world.daemon.wait_success(&told(&world, "main", &new, &next).await).await;
    has(&world, "latest", &job).await;
}

/// The branches are there, and no job of theirs was.
#[tokio::test]
async fn the_tags_of_a_protected_branch_are_its_own_before_it_sets_them() {
    let settings = [("IMAGE_TAGS", "latest,{branch}"), ("PROTECTED", "main,release/*")];
    let mut world = World::start_with(&settings).await;
    let token = build_token(&mut world);
    let main = commit(&world, "main");
    let release = commit(&world, "release/1");
    let like_release = commit(&world, "release-1");
    let job = world.daemon.wait_success(&told(&world, "release-1", NONE, &like_release).await).await;
    let log = world.daemon.log(&id(&job)).await;
    for (name, keeper, git_ref) in
        [("latest", &main, "refs/heads/main"), ("release-1", &release, "refs/heads/release/1")]
    {
        let TagView { digest, kept } = TagView::of(tag(&world, &job, name));
        assert_eq!((digest, kept.as_ref(), world.digest(name).await), (None, Some(keeper), None), "{job:#}");
        assert!(log.contains(&format!("{name}: is not set, as a tag of {git_ref}, which is protected")), "{log}");
    }
    has(&world, &like_release, &job).await;
    let by_name = json!({"owner": "acme", "repo": "hello", "branch": "release-1", "tag": "main"});
    let refused = asked_by(&world, &token, "/job", by_name.clone()).await;
    let cause = refused["cause"].as_str().unwrap();
    assert!(cause.contains("main is a tag of refs/heads/main, which is protected: have an admin set it"), "{cause}");
    let job = world.daemon.wait_success(&asked(&world, by_name).await).await;
    has(&world, "main", &job).await;
    let job = world.daemon.wait_success(&told(&world, "main", NONE, &main).await).await;
    has(&world, "latest", &job).await;
    has(&world, "main", &job).await;
}

/// A push by totem's door and GitHub's is in the tests before.
#[tokio::test]
async fn the_other_doors_leave_a_protected_tag_alone() {
    let settings = [
        ("IMAGE_TAGS", "latest"),
        ("LATEST", "always"),
        ("HOOK", "true"),
        ("PROTECTED", "main"),
        ("IMAGES_ALLOWED", "generator=127.0.0.1:*/totem/*"),
    ];
    let mut world = World::start_with(&[&COMPOSE_CI[..], &settings].concat()).await;
    let token = build_token(&mut world);
    let main = commit(&world, "main");
    let release = world.daemon.wait_success(&told(&world, "main", NONE, &main).await).await;
    has(&world, "latest", &release).await;
    let kept = "as a tag of refs/heads/main, which is protected";

    let wip = commit(&world, "wip");
    let body = json!({"repository": "acme/hello", "branch": "wip", "sha": wip});
    let conveyor = asked_by(&world, &token, "/builds", body).await;
    stays_for(&world, "latest", &conveyor, (&main, &release), kept).await;
    let wip = commit(&world, "wip");
    let compose_ci = world.ci_push("acme/hello", "wip", &wip).await;
    let compose_ci = world.daemon.wait_success(&compose_ci).await;
    stays_for(&world, "latest", &compose_ci, (&main, &release), kept).await;

    let dockerfile = STANDARD.encode(format!("FROM image-factory-busybox:1\nRUN : {}\n", unique()));
    let query = [("imagename", image(&world, "latest")), ("dockerfile", dockerfile)];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let request = world.daemon.bare_request(Method::GET, &format!("/b1/build?{query}")).bearer_auth(token);
    let answer = request.send().await.unwrap().text().await.unwrap();
    let generator = world.daemon.wait_failure(answer.trim()).await;
    let cause = generator["cause"].as_str().unwrap();
    assert!(cause.contains("latest is a tag of refs/heads/main, which is protected: have an admin set it"), "{cause}");
    has(&world, "latest", &release).await;
}
