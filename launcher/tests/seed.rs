//! Volumes that a launch fills, and signals at each moment of a launch. The tests need root, as the launcher does.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

mod image;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use image::{Image, names};

const SEED: &str = "srv/projects/hello/seeds/data";
const VOLUME: &str = "srv/projects/hello/data/data";

/// An image whose volume is empty.
fn image(app: &str) -> Image {
    let image = Image::in_memory(app);
    fs::create_dir_all(image.path(VOLUME)).unwrap();
    image
}

/// Returns the exit code, and what was written to standard error.
fn launch(image: &Image, words: &[&str]) -> (Option<i32>, String) {
    let (code, _, said) = image.launch(words);
    (code, said)
}

/// Each path below a folder with its type and mode, owner, time of change and target.
fn facts(folder: &Path) -> Vec<String> {
    let mut find = Command::new("find");
    find.arg(folder).args(["-not", "-path", "*/.launcher-*", "-printf", "%P %M %U %G %T@ %l\n"]);
    let found = String::from_utf8(find.output().unwrap().stdout).unwrap();
    let mut lines: Vec<_> = found.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn seed(image: &Image) {
    image.file(&format!("{SEED}/db/table"), "rows");
    image.file(&format!("{SEED}/.hidden"), "");
    symlink("db/table", image.path(SEED).join("link")).unwrap();
    symlink("/nowhere", image.path(SEED).join("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(image.path(SEED).join("fifo")).status().unwrap().success());
    chown(image.path(SEED).join("db/table"), Some(4711), Some(4712)).unwrap();
    chown(image.path(SEED), Some(4711), None).unwrap();
    for (path, mode) in [("db/table", 0o6640), ("db", 0o2770), ("", 0o750)] {
        fs::set_permissions(image.path(SEED).join(path), Permissions::from_mode(mode)).unwrap();
    }
    let old = ["-h", "-d", "2001-02-03 04:05:06.789"];
    for path in ["link", "db/table", "db", ""] {
        assert!(Command::new("touch").args(old).arg(image.path(SEED).join(path)).status().unwrap().success());
    }
}

#[test]
fn an_empty_volume_is_filled_once_with_owners_and_modes() {
    let image = image("exit 7");
    seed(&image);
    let filled = format!("launcher | ROOT/{VOLUME} is filled from ROOT/{SEED}\n");
    let ended = "launcher | app ended with 7\n";
    assert_eq!(launch(&image, &[]), (Some(7), filled + ended));
    assert_eq!(facts(&image.path(VOLUME)), facts(&image.path(SEED)));
    assert_eq!(names(&image.path("srv/projects/hello/data")), ["data"], "something is left beside it");

    for name in names(&image.path(VOLUME)).iter().filter(|name| *name != ".launcher-seeded") {
        let path = image.path(VOLUME).join(name);
        fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
    }
    assert_eq!(launch(&image, &[]), (Some(7), ended.into()));
    assert_eq!(names(&image.path(VOLUME)), [".launcher-seeded"], "what a user removed came back");
}

#[test]
fn a_volume_with_content_stays_as_it_is() {
    let image = image("exit 7");
    image.file(&format!("{SEED}/new"), "");
    image.file(&format!("{VOLUME}/mine"), "");
    assert_eq!(launch(&image, &[]).1, "launcher | app ended with 7\n");
    assert_eq!(names(&image.path(VOLUME)), ["mine"]);
}

#[test]
fn a_volume_elsewhere_is_named() {
    let image = image("exit 7");
    image.file("usr/share/app/first", "");
    assert_eq!(launch(&image, &["seed=/usr/share/app:/var/lib/app"]).0, Some(7));
    assert_eq!(names(&image.path("var/lib/app")), [".launcher-seeded", "first"]);
    let missing = "launcher: ROOT/none: The folder that fills a volume is missing. Correct its name.\n";
    assert_eq!(launch(&image, &["seed=/none:/var/lib/other"]), (Some(1), missing.into()));
    let inside = "launcher: ROOT/usr/share/app/own: The volume lies in ROOT/usr/share/app, which fills it. Name another volume.\n";
    assert_eq!(launch(&image, &["seed=/usr/share/app:/usr/share/app/own"]), (Some(1), inside.into()));
    assert!(!image.path("usr/share/app/own").exists());
}

/// A mounted folder cannot be renamed, and a new ext4 has `lost+found`.
#[test]
fn a_mounted_volume_is_filled_and_a_killed_launch_is_completed() {
    let image = image("ls -A ROOT/mnt; stat -c %u:%a ROOT/mnt");
    let root = image.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    image.file("seed/one", "");
    image.file("seed/two", "");
    chown(image.path("seed"), Some(4711), None).unwrap();
    fs::create_dir(image.path("mnt")).unwrap();
    let launched = |before: &str| {
        let script = format!("mount -t tmpfs none {root}/mnt && cd {root}/mnt && {before} && cd / && exec \"$@\"");
        let launch = image.command(&["seed=/seed:/mnt"]);
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh"]).arg(launch.get_program()).args(launch.get_args());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().replace("app | ", "").replace('\n', " ")
    };
    assert_eq!(launched("mkdir lost+found"), ".launcher-seeded lost+found one two 4711:755 ");
    // A kill after the step, between two moves.
    assert_eq!(
        launched("mkdir .launcher-seeded && touch one .launcher-seeded/two"),
        ".launcher-seeded one two 0:1777 "
    );
    // A kill before the step.
    assert_eq!(
        launched("mkdir .launcher-seed-new && touch .launcher-seed-new/x"),
        ".launcher-seeded one two 4711:755 "
    );
    assert_eq!(launched("touch mine"), "mine 0:1777 ");
    // A marker that the application replaced gives it no files of others.
    assert_eq!(launched(&format!("ln -s {root}/etc .launcher-seeded")), ".launcher-seeded 0:1777 ");
    assert!(image.path("etc/circus.ini").exists());
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the launch did not end");
        sleep(Duration::from_millis(2));
    }
}

/// Starts launches, and sends each this signal a little later than the one before, until some were running for a while.
/// `check` is given how it ended.
fn at_each_moment(image: &Image, signal: &str, mut check: impl FnMut(ExitStatus)) {
    const LAUNCHES: u32 = 24;
    let clear = || {
        fs::remove_dir_all(image.path(VOLUME)).unwrap();
        fs::create_dir(image.path(VOLUME)).unwrap();
        let _ = fs::remove_file(image.path("running"));
    };
    let start = || {
        image
            .command(&["ssh_config=True", "re_configure=True"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let send = |child: &Child, signal: &str| {
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
    };
    let begun = Instant::now();
    let mut child = start();
    while !image.path("running").exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the application did not start");
        sleep(Duration::from_millis(1));
    }
    let whole = begun.elapsed();
    send(&child, "TERM");
    wait(&mut child);
    for number in 0..LAUNCHES {
        clear();
        let mut child = start();
        sleep(whole * number / (LAUNCHES - 4));
        send(&child, signal);
        check(wait(&mut child));
    }
}

/// An image whose launch takes a while in each of its steps.
fn slow() -> Image {
    let image = image("touch ROOT/running; exec sleep 4711.5");
    image.file("srv/projects/hello/data/configuration/pillar.sls", "a: 1\n");
    image.program("salt-call", "sleep 0.05");
    for number in 0..1000 {
        image.file(&format!("{SEED}/{}/{number}", number % 10), "content");
    }
    image
}

fn is_empty_or_full(image: &Image) {
    let volume = image.path(VOLUME);
    if !names(&volume).is_empty() {
        assert_eq!(facts(&volume), facts(&image.path(SEED)));
        assert!(volume.join(".launcher-seeded").is_dir());
    }
}

#[test]
fn a_kill_at_any_moment_leaves_a_volume_empty_or_full() {
    let image = slow();
    let mut is_cut_off = false;
    at_each_moment(&image, "KILL", |_| {
        is_empty_or_full(&image);
        is_cut_off |= image.path("srv/projects/hello/data/.launcher-seed-new-data").exists();
    });
    assert!(is_cut_off, "no kill came in the middle of a copy");
    image.file("etc/circus.ini", "[watcher:app]\ncmd = true\nrespawn = False\n");
    assert_eq!(launch(&image, &[]).0, Some(0));
    assert!(!names(&image.path(VOLUME)).is_empty());
    is_empty_or_full(&image);
    assert_eq!(names(&image.path("srv/projects/hello/data")), ["configuration", "data"]);
}

#[test]
fn a_signal_at_any_moment_ends_the_launch_and_leaves_nothing() {
    let image = slow();
    for signal in ["TERM", "QUIT"] {
        at_each_moment(&image, signal, |status| {
            // The first moments are those before the program's own.
            assert!(status.code() == Some(0) || status.signal().is_some(), "{status}");
            is_empty_or_full(&image);
            assert_eq!(names(&image.path("srv/projects/hello/data")), ["configuration", "data"]);
        });
    }
    let root = image.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&root))
    });
    assert_eq!(left.count(), 0, "processes are left");
}
