/// Beginnings of the keys of pax records with ACLs or extended attributes (star, and libarchive).
const ATTRIBUTES: [&str; 3] = ["SCHILY.acl.", "SCHILY.xattr.", "LIBARCHIVE.xattr."];

/// True for the key of a pax record that gives a file of a tar an ACL or an extended attribute.
pub fn is_attribute(key: &str) -> bool {
    ATTRIBUTES.iter().any(|begin| key.starts_with(begin))
}
