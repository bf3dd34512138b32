//! Fills volumes that are empty.
//!
//! A volume is filled once: the folder `.launcher-seeded` in it says that it was. Its content is first copied into a folder
//! beside it, or inside of it if a file system is mounted there, and synced to the disk. A rename then makes it the volume's
//! in one step. A mounted folder cannot be renamed: there the step makes the marker of the copy, whose entries move out of
//! it. If a kill comes between, the next launch moves the rest before anything else uses the volume.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, StatxAttributes, StatxFlags, Timespec, Timestamps, mknodat, statx, syncfs, utimensat,
};

use crate::Problem;
use crate::layout::Layout;
use crate::signals::Signals;

/// The marker of a volume that was filled, or is about to be.
const SEEDED: &str = ".launcher-seeded";
/// A copy that is not complete.
const COPY: &str = ".launcher-seed-new";
/// Number of bytes that are copied before a signal is heeded.
const PIECE: u64 = 64 << 20;

/// The folders to copy, and the volumes that they fill.
pub type Seeds = Vec<(PathBuf, PathBuf)>;

/// Fills each volume from its folder, unless it has content or was filled before. Returns false if a signal asked to stop;
/// the volume at hand is as empty as before then.
///
/// # Errors
/// A folder is missing or cannot be copied. The volume is empty then.
pub fn fill(layout: &Layout, more: &Seeds, signals: &Signals) -> Result<bool, Problem> {
    for (source, volume) in own(layout)?.iter().chain(more) {
        match (Volume { source, path: volume.clone(), signals }).fill() {
            Ok(true) => eprintln!("launcher | {} is filled from {}", volume.display(), source.display()),
            Ok(false) => {}
            Err(Failure::Stopped) => return Ok(false),
            Err(Failure::Problem(problem)) => return Err(problem),
        }
    }
    Ok(true)
}

/// Returns the folders of the project's `seeds`, each with the folder of its name in the volume.
fn own(layout: &Layout) -> Result<Seeds, Problem> {
    let seeds = layout.seeds();
    let mut sources = match entries(&seeds) {
        Ok(sources) => sources,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Problem::with(&seeds, error)),
    };
    sources.retain(|source| source.is_dir());
    sources.sort();
    let pair = |source: PathBuf| {
        let volume = layout.data().join(source.file_name().unwrap_or_default());
        (source, volume)
    };
    Ok(sources.into_iter().map(pair).collect())
}

enum Failure {
    Stopped,
    Problem(Problem),
}

/// Names the file of an error.
trait At<T> {
    fn at(self, path: &Path) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure::Problem(Problem::with(path, error)))
    }
}

struct Volume<'a> {
    source: &'a Path,
    path: PathBuf,
    signals: &'a Signals,
}

impl Volume<'_> {
    /// Returns true if the volume was filled now.
    fn fill(mut self) -> Result<bool, Failure> {
        let marker = self.path.join(SEEDED);
        if let Ok(found) = marker.symlink_metadata() {
            // A launch that was killed may have left entries in it. The application may have made a link of it.
            return if found.is_dir() { self.move_out(&marker).map(|moved| moved > 0) } else { Ok(false) };
        }
        if !self.source.is_dir() {
            let problem = Problem::with(self.source, "The folder that fills a volume is missing. Correct its name.");
            return Err(Failure::Problem(problem));
        }
        self.lies_apart(&self.path, self.source)?;
        DirBuilder::new().recursive(true).create(&self.path).at(&self.path)?;
        self.lies_apart(&self.path.canonicalize().at(&self.path)?, &self.source.canonicalize().at(self.source)?)?;
        // A rename would take the place of a link, and not of the folder that it names.
        self.path = self.path.canonicalize().at(&self.path)?;
        let is_mounted = is_mount_point(&self.path).at(&self.path)?;
        let copy = if is_mounted { self.path.join(COPY) } else { self.beside() };
        remove(&copy).at(&copy)?;
        let is_content = |path: &PathBuf| !is_mounted || !path.ends_with("lost+found");
        if entries(&self.path).at(&self.path)?.iter().any(is_content) {
            return Ok(false);
        }
        let made = self.make(&copy, is_mounted);
        if made.is_err() {
            // The first error says more than this one, and the next launch removes what is left.
            let _ = remove(&copy);
        }
        made.map(|()| true)
    }

    /// Refuses a volume inside the folder that fills it, because the copy would be copied, too.
    fn lies_apart(&self, volume: &Path, source: &Path) -> Result<(), Failure> {
        if !volume.starts_with(source) {
            return Ok(());
        }
        let text = format!("The volume lies in {}, which fills it. Name another volume.", self.source.display());
        Err(Failure::Problem(Problem::with(&self.path, text)))
    }

    /// Copies the folder, and makes the copy the volume's content.
    fn make(&self, copy: &Path, is_mounted: bool) -> Result<(), Failure> {
        self.copy(self.source, copy)?;
        let metadata = self.source.metadata().at(self.source)?;
        if is_mounted {
            let synced = File::open(copy).at(copy)?;
            syncfs(&synced).at(copy)?;
            take_over(&self.path, &metadata).at(&self.path)?;
            let marker = self.path.join(SEEDED);
            fs::rename(copy, &marker).at(&marker)?;
            self.move_out(&marker)?;
        } else {
            let marker = copy.join(SEEDED);
            DirBuilder::new().mode(0o700).create(&marker).at(&marker)?;
            take_over(copy, &metadata).at(copy)?;
            let synced = File::open(copy).at(copy)?;
            syncfs(&synced).at(copy)?;
            // It takes the place of an empty folder alone.
            fs::rename(copy, &self.path).at(&self.path)?;
        }
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        File::open(parent).and_then(|folder| folder.sync_all()).at(parent)
    }

    /// Moves all entries of the marker into the volume, and returns their number.
    fn move_out(&self, marker: &Path) -> Result<usize, Failure> {
        let left = entries(marker).at(marker)?;
        for entry in &left {
            fs::rename(entry, self.path.join(entry.file_name().unwrap_or_default())).at(entry)?;
        }
        Ok(left.len())
    }

    /// The place of the copy beside a volume that is no mount point.
    fn beside(&self) -> PathBuf {
        let mut name = std::ffi::OsString::from(COPY);
        name.push("-");
        name.push(self.path.file_name().unwrap_or_default());
        self.path.with_file_name(name)
    }

    /// Copies a file, a link, a device or a folder with all below it, with owners, modes and times.
    fn copy(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        if self.signals.stops() > 0 {
            return Err(Failure::Stopped);
        }
        let metadata = from.symlink_metadata().at(from)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            DirBuilder::new().mode(0o700).create(to).at(to)?;
            for entry in entries(from).at(from)? {
                self.copy(&entry, &to.join(entry.file_name().unwrap_or_default()))?;
            }
        } else if kind.is_symlink() {
            symlink(fs::read_link(from).at(from)?, to).at(to)?;
        } else if kind.is_file() {
            self.copy_file(from, to)?;
        } else if kind.is_socket() {
            // Only the process that made it can listen on it.
            return Ok(());
        } else {
            let kind = FileType::from_raw_mode(metadata.mode());
            mknodat(CWD, to, kind, Mode::from_raw_mode(0o600), metadata.rdev()).at(to)?;
        }
        take_over(to, &metadata).at(to)
    }

    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        let mut source = File::open(from).at(from)?;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).at(to)?;
        while io::copy(&mut (&mut source).take(PIECE), &mut target).at(to)? == PIECE {
            if self.signals.stops() > 0 {
                return Err(Failure::Stopped);
            }
        }
        Ok(())
    }
}

/// Gives a file the owner, mode and times of another one.
fn take_over(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let own = path.symlink_metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        lchown(path, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    if !metadata.is_symlink() {
        // A change of the owner takes the bits for other users' rights away, so the mode comes after it.
        fs::set_permissions(path, Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// True if a file system is mounted at this folder. Kernels before 5.8 tell it by the number of the file system alone.
fn is_mount_point(folder: &Path) -> io::Result<bool> {
    let found = statx(CWD, folder, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    Ok(folder.join("..").metadata()?.dev() != folder.metadata()?.dev())
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    folder.read_dir()?.map(|entry| entry.map(|entry| entry.path())).collect()
}

/// Removes a folder or a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        done => done,
    }
}
