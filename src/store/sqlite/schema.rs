use std::path::Path;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr, SqliteConnection};

use super::errors::explain;
use crate::store::StoreError;

/// One row a version. A released file is never changed: what comes later is another file.
const MIGRATIONS: [(i64, &str, &str); 6] = [
    (1, "initial", include_str!("../migrations/0001_initial.sql")),
    (2, "told", include_str!("../migrations/0002_told.sql")),
    (3, "made", include_str!("../migrations/0003_made.sql")),
    (4, "refs", include_str!("../migrations/0004_refs.sql")),
    (5, "images", include_str!("../migrations/0005_images.sql")),
    (6, "repo_case", include_str!("../migrations/0006_repo_case.sql")),
];

/// The version that this program writes.
pub(in crate::store) const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Brings the schema to the newest version.
pub(in crate::store) async fn migrate(conn: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    migrate_to(conn, file, NEWEST).await
}

/// Brings the schema to this version. Each step is a transaction of its own.
pub(in crate::store) async fn migrate_to(
    conn: &mut SqliteConnection,
    file: &Path,
    known: i64,
) -> Result<(), StoreError> {
    let migrations = MIGRATIONS.iter().filter(|&&(version, ..)| version <= known).map(|&(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let name = || file.display().to_string();
    Migrator::with_migrations(migrations.collect()).run(conn).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => StoreError::Newer { file: name(), found, known },
        MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => explain(&e, file),
        other => StoreError::Damaged { file: name(), cause: other.to_string() },
    })
}
