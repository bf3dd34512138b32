use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::Finding;
use super::medium::{Medium, medium};
use super::room;
use crate::app::assemble;
use crate::disk::Floor;
use crate::settings::Settings;

pub const NAME: &str = "data";

/// Bytes that are written as a trial. A full disk may still have some KiB.
const TRIAL: usize = 1 << 20;

/// Checks that the data folder exists or can be made, can be written, is on a lasting disk and has room.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let floor = assemble::engine::floor(&settings);
    let look = spawn_blocking(move || look(&settings.data_dir(), &floor));
    look.await.unwrap_or_else(|e| vec![Finding::bad(NAME, e.to_string())])
}

fn look(dir: &Path, floor: &Floor) -> Vec<Finding> {
    let shown = dir.display();
    let there = dir.ancestors().find(|parent| parent.exists()).unwrap_or(Path::new("/"));
    let usable = if there.is_dir() { write_trial(there) } else { Err(io::ErrorKind::NotADirectory.into()) };
    if let Err(error) = usable {
        let what = if there == dir { "cannot be written" } else { "cannot be made" };
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, or set DATA_DIR to a larger disk",
            io::ErrorKind::PermissionDenied => {
                "run this as the daemon's user, make that user its owner, or set DATA_DIR"
            }
            _ => "put it right, or set DATA_DIR to another folder",
        };
        return vec![Finding::bad(NAME, format!("{shown} {what}: {error}; {advice}"))];
    }
    let state = if there == dir { "can be written" } else { "will be made" };
    let advice = "make room, or set DATA_DIR to a larger disk";
    let mut findings = vec![room::judge(NAME, &format!("{shown} {state},"), there, floor, advice)];
    let unfit = match medium(there) {
        Medium::Memory(kind) => Some(format!("is on {kind}: it is lost when this machine stops")),
        Medium::Network(kind) => Some(format!("is on {kind}: the jobs' database wants a disk of this machine")),
        Medium::Container => Some("is in the container's own layer: it is lost with it; mount a volume there".into()),
        Medium::Disk => None,
    };
    findings.extend(unfit.map(|why| Finding::warn(NAME, format!("{shown} {why}"))));
    findings
}

/// Writes a trial into a file without a name, which disappears whatever happens.
fn write_trial(dir: &Path) -> io::Result<()> {
    fs::read_dir(dir)?;
    tempfile::tempfile_in(dir)?.write_all(&vec![1; TRIAL])
}
