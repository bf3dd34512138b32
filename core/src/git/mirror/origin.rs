//! The file that says where a mirror came from, and the name of what came from tarballs.

/// File in a mirror with the URL that all of the mirror came from. A mirror without it is not trusted. The file's time
/// is that of the mirror's last use.
pub(in crate::git) const ORIGIN: &str = "image-factory-origin";

/// End of the name of the folder of a repository's tarballs. No repository's own name has an `@`.
pub(in crate::git) const TARBALLS: &str = "@tarballs.git";
