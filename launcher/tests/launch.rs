//! `launcher launch`, in a folder with the layout of an image. `salt-call` and `circusd` are scripts that say how they
//! were called.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

mod image;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use image::Image;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc me@example";

/// An image with a pillar, whose application ends with 7.
fn image() -> Image {
    let image = Image::new("echo runs; exit 7");
    image.file("srv/projects/hello/pillar/init.sls", "default: 1\n");
    image
}

#[test]
fn the_steps_are_carried_out_in_order() {
    let image = image();
    image.file("srv/projects/hello/data/configuration/pillar.sls", "mine: 2\n");
    image.file("srv/projects/hello/data/ssh/me.pub", &format!("{KEY}\n"));
    image.file("ms_ssh/you.pub", &format!("# comment\nrestrict {KEY}\n"));
    image.file("srv/projects/hello/data/ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    image.file("root/.ssh/authorized_keys", "ssh-rsa AAAA image\n");
    image.program(
        "salt-call",
        "cd $(dirname $0)/..; echo $*; cat srv/projects/hello/pillar/init.sls root/.ssh/authorized_keys",
    );
    let (code, stdout, stderr) = image.launch(&["ssh_config=True", "re_configure=True", "-lall"]);
    let expected = format!(
        "\
salt-call | --local --retcode-passthrough -lall mc_launcher.reconfigure hello
salt-call | mine: 2
salt-call | ssh-rsa AAAA image
salt-call | # Keys of the volume, written by the launcher at each start:
salt-call | {KEY}
salt-call | restrict {KEY}
salt-call | # End of the volume's keys.
app | runs
"
    );
    assert_eq!((code, stdout), (Some(7), expected));
    let expected = "launcher | 2 keys of the volume may log in as root\nlauncher | salt-call ended with 0\nlauncher | app ended with 7\n";
    assert_eq!(stderr, expected);
    for path in ["root/.ssh/authorized_keys", "srv/projects/hello/pillar/init.sls"] {
        assert_eq!(image.mode(path), 0o600, "{path}");
    }
}

#[test]
fn a_link_that_leads_nowhere_and_a_folder_are_no_absent_pillar_or_key() {
    let lost = "The link leads nowhere. Mount what it leads to, or remove it.";
    for (path, link, text) in [
        ("configuration/pillar.sls", true, lost),
        ("configuration", true, lost),
        ("ssh/ann.pub", true, lost),
        (
            "configuration/pillar.sls",
            false,
            "The pillar is a folder. Docker makes one where the file that it mounts is missing. Name that file.",
        ),
    ] {
        let image = image();
        let path = format!("srv/projects/hello/data/{path}");
        fs::create_dir_all(image.path(&path).parent().unwrap()).unwrap();
        match link {
            true => symlink("/nowhere/at/all", image.path(&path)).unwrap(),
            false => fs::create_dir(image.path(&path)).unwrap(),
        }
        let expected = format!("launcher: ROOT/{path}: {text}\n");
        assert_eq!(image.launch(&["ssh_config=True"]), (Some(1), String::new(), expected), "{path}");
    }
}

#[test]
fn without_a_choice_only_the_pillar_is_placed() {
    let image = image();
    image.file("srv/projects/hello/data/ssh/me.pub", KEY);
    image.program("salt-call", "echo salt");
    assert_eq!(image.launch(&[]), (Some(7), "app | runs\n".into(), "launcher | app ended with 7\n".into()));
    assert!(!image.path("root/.ssh").exists());
    assert_eq!(image.read("srv/projects/hello/pillar/init.sls"), "default: 1\n");
}

#[test]
fn a_failure_stops_the_launch() {
    let image = image();
    image.program("salt-call", "echo broken >&2; exit 3");
    let expected = "salt-call | broken\nlauncher | salt-call ended with 3\nlauncher: salt-call ended with 3, so the application is not started. Its messages are above.\n";
    assert_eq!(image.launch(&["re_configure=True"]), (Some(1), String::new(), expected.into()));
}

#[test]
fn what_is_no_whole_public_key_is_refused_and_the_old_file_stays() {
    let image = image();
    image.file("root/.ssh/authorized_keys", "old\n");
    let cut = KEY.replace("lRc me", " me");
    for second in ["-----BEGIN OPENSSH PRIVATE KEY-----", &cut, "my key ssh-ed25519", "ssh-rsa AAAA"] {
        image.file("srv/projects/hello/data/ssh/me.pub", &format!("{KEY}\n{second}\nsecret\n"));
        let expected = "launcher: ROOT/srv/projects/hello/data/ssh/me.pub:2: The line is no public key of OpenSSH, or not all of one. Copy the .pub file once more.\n";
        assert_eq!(image.launch(&["ssh_config=True"]), (Some(1), String::new(), expected.into()), "{second}");
        assert_eq!(image.read("root/.ssh/authorized_keys"), "old\n");
    }
}

#[test]
fn a_signal_while_the_configuration_is_rendered_starts_nothing() {
    let image = image();
    image.program("salt-call", "touch $(dirname $0)/ready; sleep 1000");
    let child = image.command(&["re_configure=True"]).spawn().unwrap();
    let begun = Instant::now();
    while !image.path("bin/ready").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "salt-call took too long");
        sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(image.ended(child), (Some(0), String::new(), String::new()));
}

#[test]
fn circusd_is_used_if_the_image_has_it() {
    let image = image();
    image.program("circusd", "echo $*; exit 4");
    let expected = (Some(4), "circusd | ROOT/etc/circus.ini\n".into(), "launcher | circusd ended with 4\n".into());
    assert_eq!(image.launch(&[]), expected);
}

#[test]
fn a_project_has_to_be_there() {
    let image = image();
    let expected = "launcher: ROOT/srv/projects: The image has no project `other`. Name one of hello.\n";
    assert_eq!(image.launch(&["name=other"]).2, expected);
    fs::create_dir_all(image.path("srv/projects/second/project")).unwrap();
    let expected = "launcher: ROOT/srv/projects: The image has several projects. Name one by name=: hello, second.\n";
    assert_eq!(image.launch(&[]).2, expected);
    fs::remove_file(image.path("etc/circus.ini")).unwrap();
    let expected = "launcher: ROOT/etc/circus/circus.ini: The image does not say what runs. Write this file by a state, or in the Dockerfile.\n";
    assert_eq!(image.launch(&["name=hello"]).2, expected);
    let expected =
        "launcher: ROOT/srv/projects: The image has no project here. Copy it to NAME/project in the Dockerfile.\n";
    for words in [&[][..], &["name=hello"]] {
        let _ = fs::remove_dir_all(image.path("srv"));
        assert_eq!(image.launch(words), (Some(1), String::new(), expected.into()));
        fs::create_dir_all(image.path("srv/projects")).unwrap();
        assert_eq!(image.launch(words).2, expected);
    }
}
