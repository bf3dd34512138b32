use std::path::Path;
use std::time::Instant;

use sha2::{Digest, Sha384};

use super::connection::SqlConnection;
use super::errors::StoreFault;
use crate::store::StoreError;

/// The migrations by version. A released file is never changed: what comes later is another file.
const MIGRATIONS: [(i64, &str, &str); 16] = [
    (1, "initial", include_str!("../migrations/0001_initial.sql")),
    (2, "told", include_str!("../migrations/0002_told.sql")),
    (3, "made", include_str!("../migrations/0003_made.sql")),
    (4, "refs", include_str!("../migrations/0004_refs.sql")),
    (5, "images", include_str!("../migrations/0005_images.sql")),
    (6, "repo_case", include_str!("../migrations/0006_repo_case.sql")),
    (8, "held", include_str!("../migrations/0008_held.sql")),
    (10, "wire", include_str!("../migrations/0010_wire.sql")),
    (11, "forges", include_str!("../migrations/0011_forges.sql")),
    (13, "people", include_str!("../migrations/0013_people.sql")),
    (14, "first_start", include_str!("../migrations/0014_first_start.sql")),
    (17, "source", include_str!("../migrations/0017_source.sql")),
    (18, "engines", include_str!("../migrations/0018_engines.sql")),
    (22, "kills", include_str!("../migrations/0022_kills.sql")),
    (23, "names", include_str!("../migrations/0023_names.sql")),
    (24, "branches", include_str!("../migrations/0024_branches.sql")),
];

/// The version that this program writes.
pub(in crate::store) const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// The table of the migrations that were made, as sqlx writes it: older versions of the daemon read and write it so.
const LEDGER: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
    execution_time BIGINT NOT NULL)";

/// Brings the schema to the newest version.
pub(in crate::store) fn migrate(conn: &SqlConnection, file: &Path) -> Result<(), StoreError> {
    migrate_to(conn, file, NEWEST)
}

/// Brings the schema to the version `known`. Each step is a transaction of its own.
pub(in crate::store) fn migrate_to(conn: &SqlConnection, file: &Path, known: i64) -> Result<(), StoreError> {
    steps(conn, file, known).map_err(|fault| fault.at(file))
}

fn steps(conn: &SqlConnection, file: &Path, known: i64) -> Result<(), StoreFault> {
    let name = || file.display().to_string();
    let damaged = |cause: String| StoreError::Damaged { file: name(), cause };
    conn.execute_all(LEDGER)?;
    let made = conn.all("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version", &[], |row| {
        Ok((
            row.get::<_, i64>("version")?,
            row.get::<_, bool>("success")?,
            row.get_ref("checksum")?.as_bytes()?.to_vec(),
        ))
    })?;
    if let Some((version, ..)) = made.iter().find(|(_, success, _)| !success) {
        return Err(damaged(format!("migration {version} was not completed")).into());
    }
    if let Some(&(found, ..)) = made.iter().find(|(version, ..)| *version > known) {
        return Err(StoreError::Newer { file: name(), found, known }.into());
    }
    for (version, description, sql) in MIGRATIONS.into_iter().filter(|(version, ..)| *version <= known) {
        let checksum = Sha384::digest(sql).to_vec();
        match made.iter().find(|(number, ..)| *number == version) {
            Some((.., made)) if *made == checksum => {}
            Some(_) => return Err(damaged(format!("migration {version} is not the one of this program")).into()),
            None => {
                let begun = Instant::now();
                conn.execute_all(&format!("BEGIN IMMEDIATE; {sql}"))?;
                conn.execute(
                    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES ($1, $2, 1, $3, $4)",
                    &[&version, &description, &checksum, &(begun.elapsed().as_nanos() as i64)],
                )?;
                conn.execute_all("COMMIT")?;
            }
        }
    }
    Ok(())
}
