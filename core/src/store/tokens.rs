//! Tokens of the API that were made while the daemon ran. Only their digests are stored.

use rusqlite::Row;

use super::sqlite::{StoreFault, json};
use super::{Store, StoreError};
use crate::model::{Millis, Role};

/// A token without the token itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenRecord {
    pub name: String,
    pub role: Role,
    /// Entries of [`RepoLimits`](crate::model::RepoLimits).
    pub repositories: Vec<String>,
    pub created: Millis,
    /// Name of the token that made it.
    pub created_by: String,
    /// Time of the last use, to the hour.
    pub used: Option<Millis>,
}

macro_rules! columns {
    () => {
        "name, role, repositories, created, created_by, used"
    };
}

impl Store {
    /// Stores a token by its SHA-256. Returns false if the name is taken.
    pub async fn add_token(&self, token: &TokenRecord, digest: &[u8; 32]) -> Result<bool, StoreError> {
        let (token, digest) = (token.clone(), hex::encode(digest));
        self.write(move |conn| {
            let added = conn.execute(
                "INSERT INTO tokens (name, digest, role, repositories, created, created_by) \
                 SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT 1 FROM tokens WHERE name = $1)",
                &[
                    &token.name,
                    &digest,
                    &token.role,
                    &serde_json::to_string(&token.repositories)?,
                    &token.created,
                    &token.created_by,
                ],
            )?;
            Ok(added > 0)
        })
        .await
    }

    /// Returns the token with this SHA-256.
    pub async fn token(&self, digest: &[u8; 32]) -> Result<Option<TokenRecord>, StoreError> {
        const SQL: &str = concat!("SELECT ", columns!(), " FROM tokens WHERE digest = $1");
        let digest = hex::encode(digest);
        self.read(move |conn| conn.first(SQL, &[&digest], decode)).await
    }

    /// Returns all tokens in the order of their names.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        const SQL: &str = concat!("SELECT ", columns!(), " FROM tokens ORDER BY name");
        self.read(|conn| conn.all(SQL, &[], decode)).await
    }

    /// Deletes a token and returns it; `None` if no token has the name.
    pub async fn revoke_token(&self, name: &str) -> Result<Option<TokenRecord>, StoreError> {
        const SQL: &str = concat!("DELETE FROM tokens WHERE name = $1 RETURNING ", columns!());
        let name = name.to_owned();
        self.write(move |conn| conn.first(SQL, &[&name], decode)).await
    }

    /// Stores that the token is used at this time.
    pub async fn touch_token(&self, name: &str, now: Millis) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write_unsaved(move |conn| {
            conn.execute("UPDATE tokens SET used = $1 WHERE name = $2", &[&now, &name])?;
            Ok::<_, StoreFault>(())
        })
        .await
    }
}

fn decode(row: &Row) -> rusqlite::Result<TokenRecord> {
    Ok(TokenRecord {
        name: row.get("name")?,
        role: row.get("role")?,
        repositories: json(row, "repositories")?,
        created: row.get("created")?,
        created_by: row.get("created_by")?,
        used: row.get("used")?,
    })
}
