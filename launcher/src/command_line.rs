//! The words of the command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::launch::{self, Steps};
use crate::signals::Signals;
use crate::{Problem, circus, scaffold, supervisor};

/// Exit code of a command line that means nothing (sysexits(3): EX_USAGE).
const USAGE: u8 = 64;

/// The words of a launch.
const WORDS: [&str; 7] = [
    "ssh_config=True",
    "re_configure=True",
    "merge_pillar=True",
    "pillar_merge_lists=True",
    "test=True",
    "name=NAME",
    "seed=/FOLDER:/VOLUME",
];

enum Failure {
    Usage(String),
    Problem(Problem),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

pub fn run(program: &str, args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|word| word.to_string_lossy().into_owned()).collect();
    let say = |text: &str| {
        // Without a reader of standard error the exit code has to do.
        let _ = writeln!(io::stderr(), "{text}");
    };
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["launch", rest @ ..] if !rest.contains(&"--help") => launch(rest),
        ["scaffold", rest @ ..] if !rest.contains(&"--help") => scaffold(rest),
        ["supervise", file] if !file.starts_with('-') => supervise(file),
        ["supervise"] => Err(Failure::Usage("Name the file: supervise FILE".into())),
        ["help" | "--help" | "-h"] | [_, .., "--help" | "-h"] => {
            let _ = write!(io::stdout(), "{}", usage(program));
            Ok(0)
        }
        [] => Err(Failure::Usage(usage(program))),
        _ => Err(Failure::Usage(format!("`{}` is no command.\n{}", words.join(" "), usage(program)))),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Usage(text)) => {
            say(text.trim_end());
            ExitCode::from(USAGE)
        }
        Err(Failure::Problem(problem)) => {
            say(&format!("{program}: {problem}"));
            ExitCode::FAILURE
        }
    }
}

fn usage(program: &str) -> String {
    // The factory has a command line of its own, of which this is a part.
    let (supervise, explained) = if program == "launcher" {
        (
            "\n       launcher supervise FILE",
            "\n  supervise  runs the processes of a circus.ini until they end or a signal stops them",
        )
    } else {
        ("", "")
    };
    format!(
        "\
usage: {program} launch [name=NAME] [ssh_config=True] [re_configure=True] [merge_pillar=True]
                        [pillar_merge_lists=True] [test=True] [seed=FOLDER:VOLUME] [-lLEVEL]{supervise}
       {program} scaffold NAME [--data=FOLDER]

  launch     places the pillar of the volume, carries out the steps, and runs the processes of the image's circus.ini{explained}
  scaffold   writes a new project into the folder NAME, and its data into NAME_data
"
    )
}

/// Launches the application of this image.
fn launch(words: &[&str]) -> Result<u8, Failure> {
    let (root, steps) = steps(words).map_err(Failure::Usage)?;
    let signals = signals()?;
    Ok(launch::run(&root, &steps, &environment(), &signals)?)
}

/// Reads the steps, as `ssh_config=True` or `--ssh-config`, and the folder that stands for `/`.
fn steps(words: &[&str]) -> Result<(PathBuf, Steps), String> {
    let (mut root, mut steps) = (PathBuf::from("/"), Steps::default());
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, "True"));
        let is_on = || match value {
            "True" | "true" => Ok(true),
            "False" | "false" => Ok(false),
            _ => Err(format!("`{word}` is unclear. Write {key}=True or {key}=False.")),
        };
        match key {
            "ssh_config" | "--ssh-config" => steps.ssh_config = is_on()?,
            "re_configure" | "--re-configure" => steps.re_configure = is_on()?,
            "merge_pillar" | "--merge-pillar" => steps.merge_pillar = is_on()?,
            "pillar_merge_lists" | "--pillar-merge-lists" => steps.merge_lists = is_on()?,
            "test" | "--test" => steps.test = is_on()?,
            "name" | "--name" if word.contains('=') => steps.name = Some(value.into()),
            "seed" | "--seed" if word.contains('=') => steps.seeds.push(seed(word, value)?),
            "--root" if word.contains('=') => root = value.into(),
            _ if word.starts_with("-l") => steps.salt_options.push((*word).into()),
            _ => return Err(unknown(word, key)),
        }
    }
    let below = |path: PathBuf| path.strip_prefix("/").map(|path| root.join(path)).unwrap_or(path);
    steps.seeds = steps.seeds.into_iter().map(|(source, volume)| (below(source), below(volume))).collect();
    Ok((root, steps))
}

/// Says that a word means nothing, and which one may be meant.
fn unknown(word: &str, key: &str) -> String {
    let plain = |key: &str| key.replace(['-', '_'], "").to_lowercase();
    let known = WORDS.map(|known| (known, known.split_once('=').map_or(known, |(key, _)| key)));
    match known.iter().find(|(_, other)| plain(other) == plain(key)) {
        Some((known, other)) if *other == key.trim_start_matches('-') => {
            format!("`{word}` has no value. Write {known}.")
        }
        Some((known, _)) => format!("`{word}` is unknown. Did you mean {known}?"),
        None => format!("`{word}` is unknown. The words are {} and -lLEVEL.", WORDS.join(", ")),
    }
}

/// Reads the folder that fills a volume, and the volume.
fn seed(word: &str, value: &str) -> Result<(PathBuf, PathBuf), String> {
    match value.split_once(':') {
        Some((source, volume)) if source.starts_with('/') && volume.starts_with('/') => {
            Ok((source.into(), volume.into()))
        }
        _ => Err(format!("`{word}` is unclear. Write seed=/FOLDER:/VOLUME.")),
    }
}

fn signals() -> Result<Signals, Problem> {
    Signals::take().map_err(|error| Problem::new(format!("Signals cannot be taken: {error}")))
}

fn environment() -> BTreeMap<String, String> {
    let variables = std::env::vars_os();
    variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Runs the processes of a `circus.ini`.
fn supervise(file: &str) -> Result<u8, Failure> {
    let signals = signals()?;
    let configuration = circus::read(&PathBuf::from(file), &environment())?;
    Ok(supervisor::run(configuration, &signals)?.code)
}

/// Writes a new project into this folder.
fn scaffold(words: &[&str]) -> Result<u8, Failure> {
    let (name, data) = match words {
        [name] if !name.starts_with('-') => (name, None),
        [name, data] | [data, name] if !name.starts_with('-') && data.starts_with("--data=") => {
            (name, data.strip_prefix("--data="))
        }
        _ => return Err(Failure::Usage("Name the project: scaffold NAME [--data=FOLDER]".into())),
    };
    if data == Some("") {
        return Err(Failure::Usage("`--data=` names no folder. Write --data=FOLDER, or leave it out.".into()));
    }
    let own = std::env::current_exe().map_err(|error| Problem::new(format!("The launcher is not found: {error}")))?;
    let made = scaffold::write(Path::new("."), name, data.map(Path::new), &own)?;
    let _ = write!(io::stdout(), "{made}");
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_two_spellings() {
        let seeds = vec![("/r/a".into(), "/r/b".into())];
        let expected = Steps {
            ssh_config: true,
            re_configure: true,
            name: Some("x".into()),
            salt_options: vec!["-lall".into()],
            seeds,
            ..Steps::default()
        };
        assert_eq!(
            steps(&["ssh_config=True", "--re-configure", "name=x", "-lall", "seed=/a:/b", "--root=/r"]),
            Ok(("/r".into(), expected))
        );
        assert_eq!(steps(&["--ssh-config", "ssh_config=False", "--root=/r"]), Ok(("/r".into(), Steps::default())));
        let unclear = "`ssh_config=1` is unclear. Write ssh_config=True or ssh_config=False.";
        assert_eq!(steps(&["ssh_config=1"]), Err(unclear.into()));
        assert_eq!(steps(&["seed=/a"]), Err("`seed=/a` is unclear. Write seed=/FOLDER:/VOLUME.".into()));
        for (word, text) in [
            ("sshconfig", "`sshconfig` is unknown. Did you mean ssh_config=True?"),
            ("--Re_Configure=True", "`--Re_Configure=True` is unknown. Did you mean re_configure=True?"),
            ("name", "`name` has no value. Write name=NAME."),
            ("--seed", "`--seed` has no value. Write seed=/FOLDER:/VOLUME."),
            (
                "x=1",
                "`x=1` is unknown. The words are ssh_config=True, re_configure=True, merge_pillar=True, \
                 pillar_merge_lists=True, test=True, name=NAME, seed=/FOLDER:/VOLUME and -lLEVEL.",
            ),
        ] {
            assert_eq!(steps(&[word]), Err(text.into()));
        }
    }
}
