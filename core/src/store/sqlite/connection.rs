use std::path::Path;
use std::time::Duration;

use rusqlite::{OpenFlags, Row, Rows, ToSql};

use super::errors::StoreFault;

/// The time that a statement waits for the lock of another process.
const BUSY: Duration = Duration::from_secs(5);
/// The number of prepared statements that a connection keeps; the store has about 60.
const STATEMENTS: usize = 100;
/// The writer copies its log into the database when the log has this many pages (16 MB). Pages that change often are
/// then copied once for about 1,500 webhooks; with SQLite's own 1,000 pages it is once for 400.
const CHECKPOINT_PAGES: u32 = 4000;

/// One connection to the database. Statements name their arguments `$1`, `$2`, as PostgreSQL does, and are prepared
/// once.
pub(in crate::store) struct SqlConnection(rusqlite::Connection);

impl SqlConnection {
    /// Opens the file for the writer. Each commit is durable when it returns.
    pub(in crate::store) fn open(file: &Path) -> rusqlite::Result<Self> {
        let conn = Self::with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        conn.0.pragma_update(None, "journal_mode", "WAL")?;
        conn.0.pragma_update(None, "synchronous", "FULL")?;
        conn.0.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        Ok(conn)
    }

    /// Opens the file for reading.
    pub(in crate::store) fn open_read_only(file: &Path) -> rusqlite::Result<Self> {
        Self::with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// Opens a file that nobody writes for reading, and makes no files beside it.
    pub(in crate::store) fn open_immutable(file: &Path) -> rusqlite::Result<Self> {
        // The three characters that end a path in SQLite's URIs, or escape (https://www.sqlite.org/uri.html).
        let path = file.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let uri = format!("file:{path}?immutable=1");
        Self::with_flags(Path::new(&uri), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
    }

    fn with_flags(file: &Path, flags: OpenFlags) -> rusqlite::Result<Self> {
        let conn = rusqlite::Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(BUSY)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self(conn))
    }

    /// Runs a statement and returns the number of rows that it changed.
    pub(in crate::store) fn execute(&self, sql: &str, args: &[&dyn ToSql]) -> Result<usize, StoreFault> {
        self.query(sql, args, |rows| {
            while rows.next()?.is_some() {}
            Ok(())
        })?;
        Ok(self.0.changes() as usize)
    }

    /// Runs statements that have no arguments.
    pub(in crate::store) fn execute_all(&self, sql: &str) -> Result<(), StoreFault> {
        Ok(self.0.execute_batch(sql)?)
    }

    /// Returns the first row of the answer.
    pub(in crate::store) fn first<T>(
        &self,
        sql: &str,
        args: &[&dyn ToSql],
        decode: impl FnOnce(&Row) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreFault> {
        self.query(sql, args, |rows| rows.next()?.map(decode).transpose())
    }

    /// Returns all rows of the answer.
    pub(in crate::store) fn all<T>(
        &self,
        sql: &str,
        args: &[&dyn ToSql],
        mut decode: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreFault> {
        self.query(sql, args, |rows| {
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(decode(row)?);
            }
            Ok(all)
        })
    }

    /// Returns the steps of a statement's query plan.
    #[cfg(test)]
    pub(in crate::store) fn plan(&self, sql: &str) -> Result<Vec<String>, StoreFault> {
        let mut statement = self.0.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        Ok(statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<_, _>>()?)
    }

    fn query<T>(
        &self,
        sql: &str,
        args: &[&dyn ToSql],
        read: impl FnOnce(&mut Rows) -> rusqlite::Result<T>,
    ) -> Result<T, StoreFault> {
        let mut statement = self.0.prepare_cached(sql)?;
        for index in 1..=statement.parameter_count() {
            let number = statement.parameter_name(index).and_then(|name| name[1..].parse::<usize>().ok());
            let arg = number.and_then(|number| args.get(number - 1));
            let wrong = || rusqlite::Error::InvalidParameterCount(args.len(), number.unwrap_or_default());
            statement.raw_bind_parameter(index, arg.ok_or_else(wrong)?)?;
        }
        Ok(read(&mut statement.raw_query())?)
    }
}
