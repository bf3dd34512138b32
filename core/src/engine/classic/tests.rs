use super::*;

fn log(lines: &[&str]) -> (String, ClassicProgress) {
    let mut progress = ClassicProgress::default();
    let messages = lines.iter().map(|line| serde_json::from_str::<EngineMessage>(line).unwrap());
    let text = messages.filter_map(|message| progress.add(&message)).collect();
    (text, progress)
}

#[test]
fn output_is_written_unchanged() {
    let (text, progress) = log(&[
        r#"{"stream":"Step 1/2 : RUN make"}"#,
        r#"{"stream":"\n"}"#,
        r#"{"stream":"out\npart"}"#,
        r#"{"stream":"Step 9/9 : no step"}"#,
        r#"{"stream":"\u001b[91merr\n\u001b[0m"}"#,
        r#"{"stream":"no end"}"#,
    ]);
    assert_eq!(text, "Step 1/2 : RUN make\nout\npartStep 9/9 : no steperr\nno end");
    assert_eq!((progress.step.as_str(), progress.end()), ("Step 1/2 : RUN make", &b"\n"[..]));
    assert_eq!(progress.last_line(), "no end");
}

#[test]
fn podmans_steps_are_read() {
    let (text, progress) = log(&[
        r#"{"stream":"[1/2] STEP 1/2: FROM a AS b\n"}"#,
        r#"{"stream":"[2/2] STEP 2/2: RUN make: all\n"}"#,
        r#"{"stream":"Step 9/9 : no step\n"}"#,
    ]);
    assert!(text.starts_with("[1/2] STEP 1/2: FROM a AS b\n"), "{text}");
    assert_eq!(progress.last_line().trim(), "Step 9/9 : no step");
    assert_eq!(progress.step, "Step 2/2 : RUN make: all");
    // Output of a step of the Docker Engine is no step.
    assert_eq!(
        log(&[r#"{"stream":"Step 1/1 : RUN x\n"}"#, r#"{"stream":"STEP 1/1: y\n"}"#]).1.step,
        "Step 1/1 : RUN x"
    );
}

#[test]
fn a_step_that_podman_says_was_killed_is_known() {
    let killed = &[
        r#"{"stream":"STEP 2/2: RUN make\n"}"#,
        r#"{"stream":"out\n"}"#,
        r#"{"stream":"container exited on killed\n"}"#,
    ];
    let (text, progress) = log(killed);
    assert!(text.ends_with("out\ncontainer exited on killed\n"), "{text}");
    assert!(progress.is_killed && progress.last_line().trim() == "out");
    // A step of the Docker Engine may print that.
    assert!(!log(&killed[1..]).1.is_killed);
}

#[test]
fn a_pull_writes_one_line_per_layer() {
    let (text, progress) = log(&[
        r#"{"status":"Pulling from acme/base","id":"v1"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"ab"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":5,"total":9},"progress":"[=>]","id":"ab"}"#,
        r#"{"status":"Pull complete","progressDetail":{},"id":"ab"}"#,
        r#"{"status":"Pull complete","progressDetail":{},"id":"ab"}"#,
        r#"{"status":"Already exists","progressDetail":{},"id":"cd"}"#,
        r#"{"status":"Digest: sha256:12"}"#,
    ]);
    assert_eq!(text, "v1: Pulling from acme/base\nab: Pull complete\ncd: Already exists\nDigest: sha256:12\n");
    assert_eq!(progress.end(), b"");
}

#[test]
fn the_image_is_found_in_both_forms() {
    let printed = r#"{"stream":"Successfully built 012345678901\n"}"#;
    let (_, progress) = log(&[r#"{"stream":"Successfully built by hand\n"}"#, printed]);
    assert_eq!(progress.image.as_deref(), Some("012345678901"));
    let (_, progress) = log(&[r#"{"aux":{"ID":"sha256:0123"}}"#, printed]);
    assert_eq!(progress.image.as_deref(), Some("sha256:0123"));
    assert_eq!(log(&[r#"{"stream":"Step 1/1 : FROM x\n"}"#]).1.image, None);
}

#[test]
fn the_last_line_is_the_steps_own() {
    let (_, progress) = log(&[
        r#"{"stream":"Step 2/2 : RUN make\n"}"#,
        r#"{"stream":" ---\u003e Running in 0123456789ab\n"}"#,
        r#"{"stream":"one\ntwo"}"#,
        r#"{"stream":" and three"}"#,
        r#"{"stream":"Removing intermediate container 0123456789ab\n"}"#,
    ]);
    assert_eq!(progress.last_line().trim(), "two and three");
    let (_, progress) = log(&[r#"{"stream":"Step 1/2 : RUN a\nout\n"}"#, r#"{"stream":"Step 2/2 : RUN b\n"}"#]);
    assert_eq!(progress.last_line(), "");
}

#[test]
fn a_step_that_may_leave_its_network_is_found() {
    for (step, leaves) in [
        ("RUN --network=host true", true),
        ("run --mount=type=cache,target=/c --network=host true", true),
        ("RUN --mount=type=bind,target=\"/a b\" --network=host true", true),
        ("RUN --net\"work=ho\"st true", true),
        ("RUN --network=$N true", true),
        ("RUN \\\n  --network=host true", true),
        ("ONBUILD RUN --network=host true", true),
        ("RUN --network=none --network=host [\"true\"]", true),
        ("RUN --network=none true", false),
        ("RUN --network=default true", false),
        ("RUN docker run --network=host a", false),
        ("RUN -- --network=host", false),
        ("RUN \"\"", false),
        ("RUN", false),
        ("ONBUILD", false),
        ("COPY --network=host a b", false),
    ] {
        let found = of_hosts_network(&instructions(format!("FROM a\n{step}\n").as_bytes()));
        assert_eq!(found, leaves.then_some(2), "{step}");
    }
}

#[test]
fn podmans_steps_have_a_network_of_their_own() {
    let [none, named] = ["none", "builds"].map(|name| BuildNetwork::parse(name).unwrap());
    let own = r#"[{"Host":false,"Name":"network","Path":""}]"#;
    assert_eq!([None, Some(&none)].map(podmans_network), [own, own]);
    assert_eq!(podmans_network(Some(&named)), r#"[{"Host":false,"Name":"network","Path":"builds"}]"#);
}

#[test]
fn steps_that_keep_a_cache_are_told() {
    for (step, keeps) in [
        ("RUN --mount=type=cache,target=/c make", true),
        ("RUN --network=none --mount=target=/c,type=cache make", true),
        ("RUN --mount=type=bind,target=/c make", false),
        ("RUN make --mount=type=cache", false),
        ("COPY --mount=type=cache a b", false),
    ] {
        let steps = instructions(format!("FROM a\n{step}\n").as_bytes());
        assert_eq!(steps.iter().any(has_cache_mount), keeps, "{step}");
    }
}
