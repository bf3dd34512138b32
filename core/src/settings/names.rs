use super::Spec;

/// Returns the known name that an unknown one is meant to be: one or two letters are wrong, missing or too many.
pub(super) fn suggestion(table: &[Spec], unknown: &str) -> Option<String> {
    let unknown = unknown.to_ascii_uppercase().replace('-', "_");
    let near = table.iter().flat_map(Spec::variables).map(|name| (strsim::osa_distance(&name, &unknown), name));
    // Two letters of a short name make another name.
    let limit = if unknown.len() < 8 { 1 } else { 2 };
    near.filter(|(distance, _)| (1..=limit).contains(distance)).min().map(|(_, name)| name)
}
