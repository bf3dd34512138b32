use std::ffi::OsString;
use std::path::Path;

/// Name of Conveyor's program, under which a link to this one may stand in its place.
const CONVEYOR: &str = "conveyor";

/// Returns what to use instead if the program is called by Conveyor's name to serve, as `conveyor`, `conveyor server` and
/// `conveyor worker` did. `args` begin with the program. `conveyor build` is a subcommand here, too.
pub fn replacement(args: &[OsString]) -> Option<&'static str> {
    let program = Path::new(args.first()?).file_name()?;
    let first = args.get(1).map(|first| first.to_string_lossy());
    let serves = match first.as_deref() {
        None | Some("server" | "worker") => true,
        Some("-h" | "--help" | "-V" | "--version") => false,
        Some(other) => other.starts_with('-'),
    };
    (program == CONVEYOR && serves).then_some(
        "conveyor is Image Factory here. The server and its workers are one process: run image-factory serve, with the \
         settings in /etc/image-factory/env. To build a commit, run conveyor build OWNER/REPO:COMMIT.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conveyors_own_subcommands_are_answered_with_what_to_use() {
        let is_answered = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            replacement(&args).is_some()
        };
        for args in [
            &["conveyor"][..],
            &["/usr/local/bin/conveyor", "server"],
            &["conveyor", "worker", "--dry"],
            &["conveyor", "--port", "8080"],
        ] {
            assert!(is_answered(args), "{args:?}");
        }
        for args in [
            &["image-factory"][..],
            &["image-factory", "server"],
            &["conveyor", "build", "acme/hello:1234"],
            &["conveyor", "--help"],
        ] {
            assert!(!is_answered(args), "{args:?}");
        }
    }
}
