use super::jobs::within;
use super::{Store, StoreError};
use crate::model::RepoLimits;

/// A table whose rows have ids that a user names.
#[derive(Debug, Clone, Copy)]
pub enum IdTable {
    Jobs,
    Deliveries,
    Notifications,
}

/// The longest beginning of an id that is none itself. An id has 36 characters.
const LONGEST: usize = 35;
/// The shortest beginning that is looked up, because less is a slip.
const SHORTEST: usize = 4;

impl Store {
    /// Returns the ids that begin with the text, in any case, of rows that concern the repositories of `limits`: two at most,
    /// because two already mean that it is not enough. Text that cannot begin an id has none.
    pub async fn ids_like(
        &self,
        table: IdTable,
        beginning: &str,
        limits: &RepoLimits,
    ) -> Result<Vec<String>, StoreError> {
        macro_rules! sql {
            ($rows:literal, $repository:literal) => {
                concat!(
                    "SELECT t.id FROM ",
                    $rows,
                    " WHERE t.id >= $1 AND t.id < $2 AND ",
                    within!($repository, "$3"),
                    " ORDER BY t.id LIMIT 2"
                )
            };
        }
        if !(SHORTEST..=LONGEST).contains(&beginning.len())
            || !beginning.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        {
            return Ok(Vec::new());
        }
        let sql = match table {
            IdTable::Jobs => sql!("jobs t", "t.repository"),
            IdTable::Deliveries => {
                sql!("deliveries t LEFT JOIN jobs j ON j.id = t.job", "COALESCE(j.repository, t.repository)")
            }
            IdTable::Notifications => sql!("outbox t LEFT JOIN jobs j ON j.id = t.job", "j.repository"),
        };
        let first = with_hyphens(&beginning.to_ascii_lowercase());
        // A `g` comes behind every character of an id.
        let behind = format!("{first}g");
        let limits = self.keys_of(limits);
        self.read(move |conn| conn.all(sql, &[&first, &behind, &limits], |row| row.get(0))).await
    }
}

/// Returns the beginning of an id with the hyphens that a stored id has, for one that was written without them.
fn with_hyphens(beginning: &str) -> String {
    if beginning.contains('-') {
        return beginning.to_owned();
    }
    let hyphen = |at: usize| if matches!(at, 8 | 12 | 16 | 20) { "-" } else { "" };
    beginning.char_indices().flat_map(|(at, digit)| hyphen(at).chars().chain([digit])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_without_hyphens_begin_an_id() {
        for (text, beginning) in [
            ("0199", "0199"),
            ("0199a1b2", "0199a1b2"),
            ("0199a1b2c", "0199a1b2-c"),
            ("0199a1b2c3d47e5f60718293a4b5", "0199a1b2-c3d4-7e5f-6071-8293a4b5"),
            ("0199a1b2-c3", "0199a1b2-c3"),
        ] {
            assert_eq!(with_hyphens(text), beginning);
        }
    }
}
