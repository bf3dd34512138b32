//! A store as the version before this one would have it.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/core/src/store/migrations");

/// Puts a store with the same rows in the place of this one, whose daemon has ended. The new one has every migration but the
/// newest, and of the rows what those know. Returns the number of the newest.
pub async fn take_back(file: &Path) -> i64 {
    let mut migrations: Vec<_> = std::fs::read_dir(MIGRATIONS).unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.sort();
    let newest = migrations.pop().unwrap();
    let newest: i64 = newest.file_name().unwrap().to_str().unwrap().split('_').next().unwrap().parse().unwrap();
    let former = file.with_extension("former");
    let url = format!("sqlite://{}?mode=rwc", former.display());
    let mut store = SqliteConnection::connect(&url).await.unwrap();
    let run = async |store: &mut SqliteConnection, sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(store).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    };
    run(&mut store, "PRAGMA foreign_keys = OFF".into()).await;
    for migration in migrations {
        run(&mut store, std::fs::read_to_string(migration).unwrap()).await;
    }
    run(&mut store, format!("ATTACH '{}' AS newer", file.display())).await;
    let ledger = "SELECT sql FROM newer.sqlite_master WHERE name = '_sqlx_migrations'";
    let ledger: String = sqlx::query_scalar(ledger).fetch_one(&mut store).await.unwrap();
    run(&mut store, ledger).await;
    let tables = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut store).await.unwrap();
    for table in tables {
        let columns = format!("SELECT name FROM pragma_table_info('{table}', 'main')");
        let columns = sqlx::query(AssertSqlSafe(columns)).fetch_all(&mut store).await.unwrap();
        let columns: Vec<String> = columns.iter().map(|row| format!("\"{}\"", row.get::<String, _>(0))).collect();
        let columns = columns.join(", ");
        run(
            &mut store,
            format!(
                "DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}"
            ),
        )
        .await;
    }
    run(&mut store, format!("DELETE FROM main._sqlx_migrations WHERE version = {newest}; DETACH newer")).await;
    store.close().await.unwrap();
    // What the end of the daemon left beside the file belongs to it.
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    let owner = std::fs::metadata(file).unwrap();
    let (uid, gid) = (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
    std::fs::set_permissions(&former, owner.permissions()).unwrap();
    std::os::unix::fs::chown(&former, Some(uid), Some(gid)).unwrap();
    std::fs::rename(former, file).unwrap();
    newest
}

/// Returns true if a store has this migration. Its daemon may be running.
pub async fn has_migration(file: &Path, number: i64) -> bool {
    let mut store = SqliteConnection::connect(&format!("sqlite://{}?mode=ro", file.display())).await.unwrap();
    let made = "SELECT count(*) FROM _sqlx_migrations WHERE version = $1 AND success";
    let made: i64 = sqlx::query_scalar(made).bind(number).fetch_one(&mut store).await.unwrap();
    store.close().await.unwrap();
    made == 1
}
