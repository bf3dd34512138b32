use super::{Store, StoreError};

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
    /// Returns the ids that begin with the text, in any case: two at most, because two already mean that it is not enough. Text
    /// that cannot begin an id has none.
    pub async fn ids_like(&self, table: IdTable, beginning: &str) -> Result<Vec<String>, StoreError> {
        macro_rules! sql {
            ($table:literal) => {
                concat!("SELECT id FROM ", $table, " WHERE id >= $1 AND id < $2 ORDER BY id LIMIT 2")
            };
        }
        if !(SHORTEST..=LONGEST).contains(&beginning.len())
            || !beginning.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        {
            return Ok(Vec::new());
        }
        let sql = match table {
            IdTable::Jobs => sql!("jobs"),
            IdTable::Deliveries => sql!("deliveries"),
            IdTable::Notifications => sql!("outbox"),
        };
        let first = beginning.to_ascii_lowercase();
        // A `g` comes behind every character of an id.
        let behind = format!("{first}g");
        self.read(move |conn| conn.all(sql, &[&first, &behind], |row| row.get(0))).await
    }
}
