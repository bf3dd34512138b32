//! The files beside the binary: the service, `make install`, the Debian package and the image, each used for real.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::container::{BINARY, IMAGE_FILES};
pub use crate::harness::container::{Container, debian_with, launcher, stripped, text, top};
use crate::harness::{Engine, PASSPHRASE, World, eventually, folder, port, succeed, unique};

fn read(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap()
}

/// Makes goals with the binary that [`stripped`] put there, and with the files that it writes beside it.
fn make(dir: &Path, args: &[&str]) {
    let mut make = Command::new("make");
    make.current_dir(top()).args(["--no-print-directory", "--old-file=build"]).args(args);
    make.arg(format!("BINARY={}", dir.join("release/image-factory").display()));
    succeed(make.arg(format!("SHARE={}", dir.join("release/share").display())), b"");
}

fn debian(engine: &Engine) -> String {
    debian_with(engine, &[])
}

#[test]
fn the_service_is_valid_and_confined() {
    let dir = folder();
    let file = dir.path().join("image-factory.service");
    std::fs::write(&file, read("systemd/image-factory.service").replace("/usr/bin/image-factory", BINARY)).unwrap();
    let said = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}", text(&said));
    // The exposure goes from 0, safe, to 10. A service without any of these settings has 9.6.
    let most = ["security", "--offline=yes", "--no-pager", "--threshold=20"];
    let said = Command::new("systemd-analyze").args(most).arg(&file).output().unwrap();
    assert!(said.status.success(), "{}", text(&said));
}

#[test]
fn make_uninstall_removes_what_make_install_made() {
    const SERVICE: &str = "etc/systemd/system/image-factory.service";
    let dir = folder();
    let at = |name: &str| dir.path().join("root").join(name);
    stripped(dir.path());
    let root = format!("DESTDIR={}", at("").display());
    let make = |goal: &str| make(dir.path(), &[goal, "PREFIX=/opt/if", "ALIASES=conveyor", &root]);
    let ours = [
        "opt/if/bin/image-factory",
        "opt/if/bin/conveyor",
        "opt/if/share/man/man1/image-factory-build.1.gz",
        "opt/if/share/bash-completion/completions/image-factory",
        "opt/if/share/zsh/site-functions/_image-factory",
        "opt/if/share/fish/vendor_completions.d/image-factory.fish",
        "opt/if/share/doc/image-factory/THIRD-PARTY-NOTICES.txt",
        SERVICE,
        "etc/sysusers.d/image-factory.conf",
        "etc/tmpfiles.d/image-factory.conf",
    ];
    make("install");
    assert!(ours.iter().all(|name| at(name).exists()));
    assert!(std::fs::read_to_string(at(SERVICE)).unwrap().contains("ExecStart=/opt/if/bin/image-factory serve"));
    // In the place of Conveyor's program it says what to use, or does it.
    for (args, begin) in [(&["server"][..], "conveyor is Image Factory here. "), (&["build", "--help"], "Build a rep")]
    {
        let said = Command::new(at("opt/if/bin/conveyor")).args(args).output().unwrap();
        assert!(text(&said).starts_with(begin), "{}", text(&said));
    }
    let known_hosts = at("etc/image-factory/known_hosts");
    std::fs::write(&known_hosts, "the admin's").unwrap();
    make("install");
    make("uninstall");
    assert!(!ours.iter().any(|name| at(name).symlink_metadata().is_ok()));
    assert_eq!(std::fs::read_to_string(&known_hosts).unwrap(), "the admin's");
}

/// On a Debian with systemd as its first process: installed, it runs confined as its own user; removed, it is gone;
/// purged, its settings are too, and what it stored stays.
#[tokio::test]
async fn the_debian_package_installs_runs_and_goes() {
    let (engine, dir) = (Engine::shared(), folder());
    stripped(dir.path());
    make(dir.path(), &["share"]);
    let package = dir.path().join("image-factory.deb");
    let mut build = Command::new("cargo");
    build.current_dir(top()).env("CARGO_TARGET_DIR", dir.path()).args(["deb", "--no-build", "--fast", "--quiet"]);
    succeed(build.arg("--output").arg(&package), b"");

    // systemd wants a cgroup of its own to write to, in whichever version this machine has.
    let start = "mount -o remount,rw /sys/fs/cgroup; if [ -d /sys/fs/cgroup/systemd ]; then umount /sys/fs/cgroup/systemd; \
                 mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd; fi; exec /sbin/init";
    let may = ["--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE", "--security-opt=seccomp=unconfined"];
    let more = ["--security-opt=apparmor=unconfined", "--cgroupns=private", "--network=none"];
    let mounts = ["--tmpfs=/run:exec", "--tmpfs=/tmp", "--env=container=docker"];
    let (package, image) = (format!("{}:/if.deb:ro", package.display()), debian(&engine));
    let last = ["--volume", &package, &image, "sh", "-c", start];
    let machine = Container::run(&engine, &[&may[..], &more, &mounts, &last].concat());
    let limit = Duration::from_secs(30);
    let is_up = async || machine.exec(&["systemctl", "is-system-running"]).status.success().then_some(());
    eventually(limit, "systemd runs", is_up).await;

    machine.done(&["dpkg", "--install", "/if.deb"]);
    let files = machine.done(&["dpkg", "--listfiles", "image-factory"]);
    for name in [
        "man/man1/image-factory-build.1.gz",
        "bash-completion/completions/image-factory",
        "zsh/vendor-completions/_image-factory",
        "fish/vendor_completions.d/image-factory.fish",
        "doc/image-factory/THIRD-PARTY-NOTICES.txt",
        "doc/image-factory/Cargo.lock",
    ] {
        assert!(files.contains(&format!("/usr/share/{name}\n")), "{name} is not in {files}");
    }
    let made = machine.done(&["sh", "-c", "cd /root && image-factory scaffold hello && hello/bin/launcher --help"]);
    assert!(made.contains("usage: launcher launch"), "{made}");
    let completed = ". /usr/share/bash-completion/completions/image-factory; \
                     complete=$(complete -p image-factory | sed 's/.* -F \\([^ ]*\\) .*/\\1/'); \
                     COMP_WORDS=(image-factory can); COMP_CWORD=1; $complete image-factory can image-factory; \
                     echo ${COMPREPLY[*]}";
    assert_eq!(machine.done(&["bash", "-c", completed]).trim(), "cancel");
    let as_service = ["runuser", "-u", "image-factory", "--", "image-factory"];
    let answers = async || machine.exec(&[&as_service[..], &["jobs"]].concat()).status.success().then_some(());
    eventually(limit, "the service answers", answers).await;
    assert_eq!(machine.done(&["systemctl", "is-enabled", "image-factory"]).trim(), "enabled");
    // systemd knows how it is, and that it goes on.
    let show = |property: &str| {
        machine.done(&["systemctl", "show", &format!("--property={property}"), "--value", "image-factory"])
    };
    let told = async || show("StatusText").starts_with("0 running, 0 pending; degraded: ").then_some(());
    eventually(limit, "the status line is there", told).await;
    assert_eq!(show("WatchdogUSec").trim(), "1min");
    assert_ne!(show("WatchdogTimestampMonotonic").trim(), "0");
    assert!(machine.done(&["id", "-nG", "image-factory"]).contains("docker"));
    let modes = machine.done(&["stat", "-c", "%a %U:%G", "/etc/image-factory", "/var/lib/image-factory"]);
    assert_eq!(modes, "750 root:image-factory\n700 image-factory:image-factory\n");
    let pid = machine.done(&["systemctl", "show", "--property=MainPID", "--value", "image-factory"]);
    let status = machine.done(&["cat", &format!("/proc/{}/status", pid.trim())]);
    for confined in ["NoNewPrivs:\t1", "CapBnd:\t0000000000000000", "Seccomp:\t2"] {
        assert!(status.contains(confined), "{confined} is not in {status}");
    }
    // All is well but that there is no engine here.
    let found = machine.exec(&[&as_service[..], &["doctor"]].concat());
    let bad: Vec<_> = text(&found).lines().filter(|line| line.starts_with("BAD")).map(str::to_owned).collect();
    assert!(found.status.code() == Some(1) && bad.len() == 1, "{}", text(&found));
    assert!(bad[0].starts_with("BAD  engine: "), "{bad:?}");
    // Another user finds the daemon by its address; the settings are not for everyone.
    let other = machine.exec(&["runuser", "-u", "nobody", "--", "image-factory", "jobs"]);
    assert!(!other.status.success() && text(&other).contains("IMAGE_FACTORY_URL"), "{}", text(&other));

    machine.done(&["dpkg", "--remove", "image-factory"]);
    assert!(!machine.exec(&["systemctl", "is-active", "image-factory"]).status.success());
    machine.done(&["test", "-e", "/etc/image-factory/image-factory.toml"]);
    machine.done(&["dpkg", "--purge", "image-factory"]);
    machine.done(&["test", "!", "-e", "/etc/image-factory"]);
    machine.done(&["test", "-e", "/var/lib/image-factory/admin-token"]);
}

/// The image's build from source gets what the binary is made of: SQLite's flags, and every file that the code takes in.
#[test]
fn the_image_is_built_with_every_file_of_the_binary() {
    let ignored = read(".dockerignore");
    let is_sent = |path: &str| {
        ignored.lines().any(|line| line.strip_prefix('!').is_some_and(|sent| Path::new(path).starts_with(sent)))
    };
    let mut needed: Vec<String> =
        [".cargo/config.toml", "Cargo.toml", "Cargo.lock", "benches", "build.rs", "core", "launcher", "src"]
            .map(String::from)
            .into();
    let taken = regex::Regex::new(r#"include_(?:str|bytes)!\("(?:\.\./)+((?:etc/|[A-Z])[^"]*)"\)"#).unwrap();
    for (_, text) in crate::tidy::rust_files(&["src", "core/src"]) {
        needed.extend(taken.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    assert!(needed.len() > 6, "{needed:?}");
    for path in needed {
        assert!(top().join(&path).exists() && is_sent(&path), "{path} is missing, or .dockerignore leaves it out");
    }
}

/// Our Dockerfile, built by our own daemon; what comes of it runs read-only and not as root, and builds on this
/// machine's engine in turn.
#[tokio::test]
async fn our_image_is_built_by_us_and_builds() {
    let (world, dir) = (World::start().await, folder());
    let engine = &world.engine;
    stripped(&world.repo.path("target"));
    let files: Vec<_> = IMAGE_FILES.iter().chain(&[".dockerignore"]).map(|name| (*name, read(name))).collect();
    world.repo.commit("develop", &files.iter().map(|(name, text)| (*name, text.as_str())).collect::<Vec<_>>());
    // No image can be pulled here: the stage that takes a binary, on a local base.
    let base = format!("BASE={}", debian_with(engine, &["engine"]));
    let options = ["--target", "prebuilt", "--build-arg", &base];
    let mut build =
        world.daemon.cli(&[&["build", "acme/hello", "--follow"], &options[..]].concat()).spawn(&dir.path().join("log"));
    assert!(build.exit(Duration::from_secs(200)).await.success(), "{}", build.output());
    let image = format!("{}/totem/acme-hello:HEAD", world.registry.address());

    // A release has 38 MB, and the image with it 120 at most.
    let binary = std::fs::metadata(world.repo.path("target/release/image-factory")).unwrap().len();
    let size: u64 = engine.inspect(&image, "{{.Size}}").parse().unwrap();
    assert!(size - binary < 81_500_000, "{size} bytes with a binary of {binary}");

    let inner = world.git.repo("acme", "inner");
    inner.commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique()))]);
    let host_socket = engine.host.strip_prefix("unix://").unwrap();
    let group = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(host_socket).unwrap());
    let port = port();
    let environment: Vec<String> = [
        ("LISTEN", format!("127.0.0.1:{port}")),
        ("ETCD_HOST", "127.0.0.1".into()),
        ("ETCD_PORT", world.etcd.port().to_string()),
        ("ENC_PASSPHRASE", PASSPHRASE.into()),
        ("HOOK_SECRET", "a secret of its own".into()),
        ("GIT_URL", world.git.url()),
        ("KNOWN_HOSTS", "/known_hosts".into()),
        ("DOCKER_REPO_BASE", format!("{}/totem", world.registry.address())),
    ]
    .map(|(name, value)| format!("--env={name}={value}"))
    .into();
    let hosts = format!("--volume={}:/known_hosts:ro", world.git.known_hosts().display());
    let socket = format!("--volume={host_socket}:/var/run/docker.sock:ro");
    let fixed = ["--read-only", "--tmpfs=/tmp", "--network=host", "--health-interval=1s"];
    let given: Vec<&str> = environment.iter().map(String::as_str).chain([hosts.as_str(), &socket]).collect();
    let container = Container::run(engine, &[&fixed[..], &given, &[&image]].concat());

    // A command by hand has the same user, or the one that is given. This one waits for its input.
    for (user, ids) in [("0", "8080"), ("1234", "1234")] {
        let given = ["--interactive", "--network=none", "--user", user, &socket, &image];
        let by_hand = Container::run(engine, &[&given[..], &["secrets", "put", "authorized-keys", "-"]].concat());
        let status = format!("/proc/{}/status", by_hand.inspect("{{.State.Pid}}"));
        let has_user = async || {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let groups = if user == "0" { format!("Groups:\t{group} \n") } else { String::new() };
            (status.contains(&format!("Uid:\t{ids}\t{ids}\t{ids}")) && status.contains(&groups)).then_some(())
        };
        eventually(Duration::from_secs(20), "the command has its user", has_user).await;
    }
    let checked = engine.docker(&["run", "--rm", "--network=none", &image, "serve", "--check"]);
    assert_eq!(checked, "The settings are valid.");

    let healthy = async || (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(());
    eventually(Duration::from_secs(30), "the container is healthy", healthy).await;
    // The daemon has its own user and the socket's group, and none of root's rights.
    let status = container.done(&["sh", "-c", "cat /proc/$(cat /proc/1/task/1/children | tr -d ' ')/status"]);
    for line in ["Uid:\t8080\t8080", "Gid:\t8080\t8080", &format!("Groups:\t{group} \n"), "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    assert_eq!(container.done(&["image-factory", "health"]), "ready\n");
    let notices = container.done(&["image-factory", "licenses"]);
    assert_eq!(notices, read("THIRD-PARTY-NOTICES.txt"));
    assert_eq!(container.done(&["cat", "/usr/share/doc/image-factory/THIRD-PARTY-NOTICES.txt"]), notices);
    // Packages of one source share the text of their licences.
    let without = "cd /usr/share/doc; for package in $(sed -n 's/^Package: //p' /var/lib/dpkg/status); do \
                   [ -s $package/copyright ] || echo $package; done";
    assert_eq!(container.done(&["sh", "-c", without]), "");
    let found = container.exec(&["image-factory", "doctor", "--repo", "acme/inner"]);
    assert!(found.status.success() && !text(&found).contains("BAD"), "{}", text(&found));
    let built = container.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(world.registry.manifest("totem/acme-inner", "HEAD").await.is_some(), "{built}");

    let start = Instant::now();
    engine.docker(&["stop", "--time", "20", &container.name]);
    assert!(start.elapsed() < Duration::from_secs(15), "it was killed");
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "{}", container.logs());
}
