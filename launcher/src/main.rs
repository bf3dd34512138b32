use std::process::ExitCode;

fn main() -> ExitCode {
    launcher::run("launcher", std::env::args_os().skip(1))
}
