//! `launcher launch re_configure=True` in an image without Salt: what is refused, what is listed, and what stays whole.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

mod image;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use image::{Image, names};

/// An image with a pillar and these states.
fn image(states: &str) -> Image {
    let image = Image::new("echo runs");
    image.file("srv/projects/hello/pillar/init.sls", "domain: of.image\nports: [1]\ndeep: {a: 1, b: 2}\n");
    image.file("srv/projects/hello/project/.salt/200_reconfigure.sls", states);
    image
}

/// Returns the exit code, and what standard output and behind it standard error have.
fn launch(image: &Image, words: &[&str]) -> (Option<i32>, String) {
    let (code, output, errors) = image.launch(words);
    (code, output + &errors)
}

const STATES: &str = "\
/etc/app/app.conf:
  file.managed:
    - source: salt://files/app.conf
    - template: jinja
    - makedirs: True
    - mode: '0640'
restart:
  cmd.wait:
    - name: echo restarted
    - watch:
      - file: /etc/app/app.conf
";

#[test]
fn what_was_done_is_listed_and_a_second_launch_changes_nothing() {
    let image = image(STATES);
    image.file("srv/projects/hello/project/.salt/files/app.conf", "domain = {{ pillar.domain }}\n");
    let expected = "\
restart | restarted
app | runs
launcher | changed: file.managed /etc/app/app.conf
launcher | changed: cmd.wait echo restarted
launcher | 2 states changed, 0 unchanged, 0 failed
launcher | app ended with 0
";
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(0), expected.into()));
    assert_eq!(image.read("etc/app/app.conf"), "domain = of.image\n");
    let written = fs::metadata(image.path("etc/app/app.conf")).unwrap().ino();

    let expected = "\
app | runs
launcher | unchanged: file.managed /etc/app/app.conf
launcher | unchanged: cmd.wait echo restarted
launcher | 0 states changed, 2 unchanged, 0 failed
launcher | app ended with 0
";
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(0), expected.into()));
    assert_eq!(fs::metadata(image.path("etc/app/app.conf")).unwrap().ino(), written);

    image.file("srv/projects/hello/data/configuration/pillar.sls", "domain: of.volume\n");
    let expected = "\
launcher | would change: file.managed /etc/app/app.conf
launcher | would change: cmd.wait echo restarted
launcher | 2 states would change, 0 unchanged, 0 failed
";
    assert_eq!(launch(&image, &["re_configure=True", "test=True"]), (Some(0), expected.into()));
    assert_eq!(image.read("etc/app/app.conf"), "domain = of.image\n");
    assert_eq!(launch(&image, &["re_configure=True"]).0, Some(0));
    assert_eq!(image.read("etc/app/app.conf"), "domain = of.volume\n");
}

#[test]
fn a_dry_run_counts_on_the_folders_and_accounts_of_earlier_states() {
    let image = image(
        "\
/etc/hello:
  file.directory: []
/etc/hello/app.conf:
  file.managed:
    - contents: x
/etc/hello/link:
  file.symlink:
    - target: app.conf
/missing/app.conf:
  file.managed:
    - contents: x
runner:
  user.present:
    - home: /srv/runner
/srv/runner/conf:
  file.managed:
    - contents: x
    - user: runner
    - group: runner
/srv/other:
  file.directory:
    - user: nobody-else
mkdir /made:
  cmd.run: []
/made/app.conf:
  file.append:
    - text: x
",
    );
    let expected = "\
launcher | would change: file.directory /etc/hello
launcher | would change: file.managed /etc/hello/app.conf
launcher | would change: file.symlink /etc/hello/link
launcher | ROOT/srv/projects/hello/project/.salt/200_reconfigure.sls:10: file.managed /missing/app.conf failed: \
the folder ROOT/missing is missing; write `makedirs: True`
launcher | would change: user.present runner
launcher | would change: file.managed /srv/runner/conf
launcher | ROOT/srv/projects/hello/project/.salt/200_reconfigure.sls:21: file.directory /srv/other failed: \
the image has no user nobody-else; create it by user.present, or correct the name
launcher | would change: cmd.run mkdir /made
launcher | would change: file.append /made/app.conf
launcher | 7 states would change, 0 unchanged, 2 failed
";
    assert_eq!(launch(&image, &["re_configure=True", "test=True"]), (Some(1), expected.into()));
    for path in ["etc/hello", "srv/runner", "made"] {
        assert!(!image.path(path).exists(), "{path}");
    }
}

#[test]
fn a_pillar_of_the_volume_is_merged_on_demand() {
    let image = image("/out:\n  file.managed:\n    - contents: {{ pillar|json|yaml_encode }}\n");
    image.file(
        "srv/projects/hello/project/.salt/PILLAR.sample",
        "makina-projects.projectname: {data: {x: 1}}\nhint: a\n",
    );
    image.file(
        "srv/projects/hello/data/configuration/pillar.sls",
        "domain: {{ 'of' }}.volume\nports: [2]\ndeep: {b: 3}\n",
    );
    let sample = "\"hint\": \"a\", \"makina-projects.hello\": {\"data\": {\"x\": 1}}";
    for (words, deep, ports) in [
        (&["re_configure=True"][..], "{\"b\": 3}", "[2]"),
        (&["re_configure=True", "--merge-pillar"], "{\"a\": 1, \"b\": 3}", "[2]"),
        (&["re_configure=True", "merge_pillar=True", "--pillar-merge-lists"], "{\"a\": 1, \"b\": 3}", "[1, 2]"),
    ] {
        assert_eq!(launch(&image, words).0, Some(0), "{words:?}");
        let expected = format!("{{\"deep\": {deep}, \"domain\": \"of.volume\", {sample}, \"ports\": {ports}}}\n");
        assert_eq!(image.read("out"), expected, "{words:?}");
    }
}

#[test]
fn what_is_not_carried_out_is_refused_before_anything_is_changed() {
    let first = "/out:\n  file.managed:\n    - contents: x\n{% for name in ['a'] %}\n\n";
    for (states, line, text) in [
        (
            "{{ name }}:\n  pkg.installed: []\n",
            7,
            "pkg.installed is not carried out here. Install packages in the Dockerfile.",
        ),
        (
            "{{ name }}:\n  file.managed:\n    - attrs: i\n",
            8,
            "`attrs` of file.managed is not carried out here. Take it out, or use cmd.run.",
        ),
        (
            "{{ name }}:\n  cmd.run:\n    - prereq: [file: /out]\n",
            8,
            "`prereq` is not carried out here. Use require, watch, onchanges or onfail.",
        ),
        (
            "{{ name }}:\n  cmd.run:\n    - require: [file: b]\n",
            7,
            "There is no state `file: b` to wait for. Correct the requisite.",
        ),
        ("{{ name }}:\n  file.managed:\n    - mode: 689\n", 8, "`mode` is wrong. Write octal digits such as '0640'."),
        (
            "{{ name }}:\n  file.managed:\n    - source: http://x/y\n",
            7,
            "The source http://x/y is not fetched here. Copy it in the Dockerfile.",
        ),
        ("/out:\n  cmd.run\n", 6, "The YAML cannot be read: the key `/out` occurs twice."),
        ("x: {{ nosuch }}\n", 6, "Jinja cannot render this: `nosuch` is undefined."),
        (
            "x: {{ salt['mysql.query']('x') }}\n",
            6,
            "Jinja cannot render this: salt['mysql.query'] is not carried out here; put its result into the pillar.",
        ),
        ("a: [\n", 7, "The YAML cannot be read: "),
        ("true:\n  cmd.run\n", 6, "The id True is no text. Write it in quotes."),
        ("extend: {}\n", 6, "`extend` is not carried out here. Write the state as it is meant."),
    ] {
        let image = image(&format!("{first}{states}{{% endfor %}}\n"));
        let (code, output) = launch(&image, &["re_configure=True"]);
        let place = format!("launcher: ROOT/srv/projects/hello/project/.salt/200_reconfigure.sls:{line}: {text}");
        assert!(output.starts_with(&place), "{states}\nexpected: {place}\nprinted: {output}");
        assert_eq!((code, output.lines().count()), (Some(1), 1));
        assert!(!image.path("out").exists());
    }
}

#[test]
fn a_state_that_fails_stops_the_launch_and_those_that_require_it() {
    let states = "\
first:
  cmd.run:
    - name: echo no >&2; exit 3
second:
  cmd.run:
    - name: echo never
    - require: [cmd: first]
third:
  cmd.run:
    - name: echo cleaned
    - onfail: [cmd: first]
";
    let image = image(states);
    let expected = "\
third | cleaned
first | no
launcher | ROOT/srv/projects/hello/project/.salt/200_reconfigure.sls:2: cmd.run echo no >&2; exit 3 failed: the command ended with 3
launcher | not run, because what it requires failed: cmd.run echo never
launcher | changed: cmd.run echo cleaned
launcher | 1 state changed, 0 unchanged, 2 failed
launcher: 2 states failed, so the application is not started.
";
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(1), expected.into()));
}

#[test]
fn states_that_wait_for_each_other_are_named() {
    let image = image("a:\n  cmd.run:\n    - require: [cmd: b]\nb:\n  cmd.run:\n    - require: [cmd: a]\n");
    let expected = "launcher: ROOT/srv/projects/hello/project/.salt/200_reconfigure.sls:2: States wait for each other here. Take one of the requisites out.\n";
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(1), expected.into()));
}

#[test]
fn a_pillar_without_bounds_costs_an_error() {
    let image = image(STATES);
    for (pillar, text) in [
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
            "the template takes too many steps",
        ),
        ("a: {{ 'x' * 999999999 }}", "the template takes too many steps"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion limit exceeded"),
        ("{% import_yaml 'init.sls' as x %}", "files are imported as data"),
        ("{% include 'init.sls' %}", "recursion limit exceeded"),
    ] {
        image.file("srv/projects/hello/pillar/init.sls", pillar);
        let (code, output) = launch(&image, &["re_configure=True"]);
        assert_eq!((code, output.lines().count()), (Some(1), 1), "{output}");
        assert!(output.contains("pillar/init.sls:1: ") && output.contains(text), "{output}");
    }
    image.file("srv/projects/hello/pillar/init.sls", "#!py\nimport os\n");
    let expected = "launcher: ROOT/srv/projects/hello/pillar/init.sls:1: The renderer py is not carried out here. Write Jinja and YAML.\n";
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(1), expected.into()));
}

#[test]
fn accounts_are_created_and_own_files() {
    let states = "\
web:
  user.present:
    - uid: 4321
    - home: /srv/web
    - shell: /bin/sh
    - createhome: False
    - groups: [tls]
    - require: [group: tls]
tls:
  group.present:
    - gid: 4300
/owned:
  file.managed:
    - user: web
    - group: tls
    - require: [user: web]
";
    let image = image(states);
    for (path, content) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/shadow", ""),
        ("etc/gshadow", ""),
    ] {
        image.file(path, content);
    }
    let (code, output) = launch(&image, &["re_configure=True"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(image.read("etc/passwd").contains("web:x:4321:"), "{}", image.read("etc/passwd"));
    assert!(image.read("etc/group").contains("tls:x:4300:web"));
    let owned = fs::metadata(image.path("owned")).unwrap();
    assert_eq!((owned.uid(), owned.gid()), (4321, 4300));
    let (_, output) = launch(&image, &["re_configure=True"]);
    assert!(output.contains("0 states changed, 3 unchanged, 0 failed"), "{output}");
}

#[test]
fn a_mistake_in_a_pillar_is_named_where_its_author_finds_it() {
    const VOLUME: &str = "srv/projects/hello/data/configuration/pillar.sls";
    const PROJECT: &str = "srv/projects/hello/pillar/init.sls";
    for (pillar, line, text) in [
        ("a: 1\nb: {{ nosuch }}\n", 2, "Jinja cannot render this: `nosuch` is undefined."),
        ("a: 1\nb: c: d\n", 2, "The YAML cannot be read: "),
        ("include:\n  - nosuch\n", 2, "The pillar nosuch is missing. Correct its name."),
        ("include: nosuch\n", 1, "`include` is no list. Write each name on a line with `-`."),
        ("- a\n", 1, "The pillar is no mapping. Write `key: value`."),
        ("\ta: 1\n", 1, "The YAML cannot be read: a tab stands in the place of spaces; write spaces."),
        ("#!py\n", 1, "The renderer py is not carried out here. Write Jinja and YAML."),
    ] {
        for words in [&["re_configure=True"][..], &["re_configure=True", "merge_pillar=True"]] {
            let image = image(STATES);
            image.file(VOLUME, pillar);
            let (code, output) = launch(&image, words);
            let expected = format!("launcher: ROOT/{VOLUME}:{line}: {text}");
            assert!(code == Some(1) && output.starts_with(&expected), "{pillar} {words:?}: {output}");
        }
        let image = image(STATES);
        image.file(PROJECT, pillar);
        image.file(VOLUME, "a: 1\n");
        let (_, output) = launch(&image, &["re_configure=True", "merge_pillar=True"]);
        assert!(output.starts_with(&format!("launcher: ROOT/{PROJECT}:{line}: {text}")), "{pillar}: {output}");
    }
}

#[test]
fn a_top_file_that_names_nothing_is_refused() {
    for (path, kind) in
        [("srv/projects/hello/project/.salt/top.sls", "states"), ("srv/projects/hello/pillar/top.sls", "pillar")]
    {
        for top in ["[]\n", "", "{}\n", "base: {}\n", "base:\n  '*': []\n"] {
            let image = image(STATES);
            image.file(path, top);
            let expected = format!(
                "launcher: ROOT/{path}:1: The file names no {kind}. Write names below `base` and '*', or remove it.\n"
            );
            assert_eq!(launch(&image, &["re_configure=True"]), (Some(1), expected), "{top}");
        }
    }
}

#[test]
fn a_number_that_an_account_cannot_get_is_refused_before_anything_is_changed() {
    const PLACE: &str = "launcher: ROOT/srv/projects/hello/project/.salt/200_reconfigure.sls";
    let other = "which is not changed; write it, or leave the number out.";
    for (state, line, text) in [
        ("user.present: [uid: abc]", 5, "`uid` is wrong. Write a number below 4294967295.".to_owned()),
        ("user.present: [uid: 4294967295]", 5, "`uid` is wrong. Write a number below 4294967295.".to_owned()),
        ("group.present: [gid: tls]", 5, "`gid` is wrong. Write a number below 4294967295.".to_owned()),
        ("group.present: [system: 7]", 5, "`system` is wrong. Write True or False.".to_owned()),
        ("file.managed: [name: /x, user: [web]]", 5, "`user` is wrong. Write a text.".to_owned()),
        (
            "user.present: [uid: 5]",
            5,
            format!("user.present web cannot be carried out: the user has the number 33, {other}"),
        ),
        (
            "group.present: [gid: 5]",
            5,
            format!("group.present web cannot be carried out: the group has the number 34, {other}"),
        ),
    ] {
        let image = image(&format!("/out:\n  file.managed:\n    - contents: x\nweb:\n  {state}\n"));
        image.file("etc/passwd", "web:x:33:34::/srv:/bin/sh\n");
        image.file("etc/group", "web:x:34:\n");
        assert_eq!(launch(&image, &["re_configure=True"]), (Some(1), format!("{PLACE}:{line}: {text}\n")), "{state}");
        assert!(!image.path("out").exists(), "{state}");
    }
}

#[test]
fn what_a_command_lacks_is_said_once() {
    let states = "\
first:
  cmd.run:
    - name: 'true'
    - runas: nosuch
second:
  cmd.run:
    - name: 'true'
    - cwd: /no/such
";
    let image = image(states);
    let place = "launcher | ROOT/srv/projects/hello/project/.salt/200_reconfigure.sls";
    let expected = format!(
        "\
{place}:2: cmd.run true failed: the image has no user nosuch; create it by user.present, or correct `runas`
{place}:6: cmd.run true failed: the folder /no/such is missing; create it, or correct `cwd`
launcher | 0 states changed, 0 unchanged, 2 failed
launcher: 2 states failed, so the application is not started.
"
    );
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(1), expected));
}

#[test]
fn a_key_of_another_project_is_named() {
    let image = image("/out:\n  file.managed:\n    - contents: x\n");
    image.file(
        "srv/projects/hello/data/configuration/pillar.sls",
        "makina-projects.projectname: {data: {}}\nmakina-projects.hello: {data: {}}\n",
    );
    let expected = "\
app | runs
launcher | the pillar has makina-projects.projectname, and this project reads makina-projects.hello
launcher | changed: file.managed /out
launcher | 1 state changed, 0 unchanged, 0 failed
launcher | app ended with 0
";
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(0), expected.into()));
}

/// The state that misses a value names its own line, and not the pillar's, where the mistake is.
#[test]
fn a_key_without_its_values_is_named() {
    let image = image("/out:\n  file.managed:\n    - contents: x\n");
    image.file("srv/projects/hello/project/.salt/PILLAR.sample", "makina-projects.projectname:\n  data: {a: 1}\n");
    for (pillar, warning) in [
        ("makina-projects.hello:\n", Some("makina-projects.hello is empty")),
        ("makina-projects.hello: text\n", Some("makina-projects.hello is no mapping")),
        ("makina-projects.hello:\ndata: {a: 2}\n", Some("makina-projects.hello is empty")),
        ("makina-projects.hello:\n  data:\n", Some("data of makina-projects.hello is empty")),
        ("makina-projects.hello:\n  data: [a]\n", Some("data of makina-projects.hello is no mapping")),
        ("makina-projects.hello: {}\n", None),
        ("makina-projects.hello:\n  data: {}\n", None),
        ("other: 1\n", None),
    ] {
        image.file("srv/projects/hello/data/configuration/pillar.sls", pillar);
        let (code, said) = launch(&image, &["re_configure=True", "test=True"]);
        let named = said.lines().find_map(|line| line.strip_prefix("launcher | the pillar's "));
        let expected = warning.map(|warning| {
            format!(
                "{warning}, so that the project has no data: write its values below it, each with more spaces before \
                 it, or remove the line"
            )
        });
        assert_eq!((code, named), (Some(0), expected.as_deref()), "{pillar}: {said}");
    }
}

#[test]
fn a_pillar_that_is_no_text_is_named() {
    let image = image(STATES);
    let volume = "srv/projects/hello/data/configuration/pillar.sls";
    image.file(volume, "");
    fs::write(image.path(volume), b"a: \xff\n").unwrap();
    let expected = format!("launcher: ROOT/{volume}: The file is no text in UTF-8. Convert it.\n");
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(1), expected));
    fs::remove_dir_all(image.path("srv/projects/hello/project/.salt")).unwrap();
    image.file(volume, "a: 1\n");
    let expected = "launcher: ROOT/srv/projects/hello/project/.salt: There are no states. Write them to a file such as 200_reconfigure.sls.\n";
    assert_eq!(launch(&image, &["re_configure=True"]), (Some(1), expected.into()));
}

/// Files in the folder `out` of an image, whose letters are the pillar's, and a command between them, which notes its number.
const LETTERS: &str = "\
{% for number in range(20) %}
/out/{{ number }}:
  file.managed:
    - source: salt://letters
    - template: jinja
    - makedirs: True
{% if number == 10 and pillar.waits %}
half:
  cmd.run:
    - name: echo $$ >{{ pillar.waits }}.new && mv {{ pillar.waits }}.new {{ pillar.waits }} && exec sleep 1000
{% endif %}
{% endfor %}
";

#[test]
fn a_kill_at_any_moment_leaves_each_file_whole() {
    let image = Image::in_memory("exit 7");
    image.file("srv/projects/hello/project/.salt/200_letters.sls", LETTERS);
    image.file("srv/projects/hello/project/.salt/letters", "{{ pillar.letter * 20000 }}\n");
    let start = |letter: &str, waits: &str| {
        let pillar = format!("letter: {letter}\nwaits: '{waits}'\n");
        image.file("srv/projects/hello/data/configuration/pillar.sls", &pillar);
        image.command(&["re_configure=True"]).spawn().unwrap()
    };
    let kill = |child: &mut Child| {
        child.kill().unwrap();
        child.wait().unwrap();
    };
    // Returns the letters of the files, each of which is whole.
    let letters = || -> String {
        let files = names(&image.path("out")).into_iter().filter(|name| !name.ends_with(".launcher-new"));
        let letter = |name: String| {
            let text = image.read(&format!("out/{name}"));
            let letter = text.chars().next().unwrap();
            assert!(text == letter.to_string().repeat(20_000) + "\n", "{name} has {} characters", text.len());
            letter
        };
        files.map(letter).collect()
    };
    let begun = Instant::now();
    assert_eq!(image.ended(start("a", "")).0, Some(7));
    let whole = begun.elapsed();
    assert_eq!(letters(), "a".repeat(20));
    for number in 0..16 {
        let mut child = start(["b", "c"][number % 2], "");
        sleep(whole * number as u32 / 12);
        kill(&mut child);
        assert_eq!(letters().len(), 20);
    }
    // A kill in the middle, for certain.
    let half = image.path("half");
    let mut child = start("d", half.to_str().unwrap());
    while !half.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the command did not start");
        sleep(Duration::from_millis(5));
    }
    kill(&mut child);
    assert!(Command::new("kill").args(["-9", image.read("half").trim()]).status().unwrap().success());
    assert!((1..20).contains(&letters().matches('d').count()), "{}", letters());
    // The next launch writes the rest, and leaves nothing of the former ones.
    assert_eq!(image.ended(start("e", "")).0, Some(7));
    assert_eq!((letters(), names(&image.path("out")).len()), ("e".repeat(20), 20));
}
