//! Packs the daemon's relative relocations (DT_RELR of the generic ELF specification), which takes 1.4 MB of 39 off the
//! binary, and off our image with it.

use std::process::Command;

/// Release of glibc whose loader reads packed relocations, and any later one. An older one refuses the program.
const GLIBC: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // A binary for another kind of machine runs with a glibc that nobody can ask here.
    let is_native = variable("HOST") == variable("TARGET") && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    if is_native && glibc().is_some_and(|found| found >= GLIBC) {
        // A linker that does not know the option warns and goes on.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Returns the release of this machine's glibc.
#[expect(clippy::disallowed_methods, reason = "the module that starts programs is not there yet")]
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
