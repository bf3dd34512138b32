//! The file that says where a mirror came from.

/// File in a mirror with the URL that all of the mirror came from. A mirror without it is not trusted. The file's time
/// is that of the mirror's last use.
pub(in crate::git) const ORIGIN: &str = "image-factory-origin";
