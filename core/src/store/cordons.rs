//! Engines that take no new job, as operators asked. They are kept over a restart.

use std::collections::BTreeMap;

use super::{Store, StoreError};
use crate::model::{Cordon, Millis};

impl Store {
    /// Returns the cordoned engines by name.
    pub async fn cordons(&self) -> Result<BTreeMap<String, Cordon>, StoreError> {
        const SQL: &str = "SELECT engine, since, cordoned_by FROM cordons";
        let cordons = self.read(|conn| {
            conn.all(SQL, &[], |row| {
                Ok((row.get::<_, String>("engine")?, Cordon { since: row.get("since")?, by: row.get("cordoned_by")? }))
            })
        });
        Ok(cordons.await?.into_iter().collect())
    }

    /// Stores that an engine is cordoned from now on, and returns the cordon. An earlier one stays.
    pub async fn cordon(&self, engine: &str, by: &str) -> Result<Cordon, StoreError> {
        const SQL: &str = "INSERT INTO cordons (engine, since, cordoned_by) VALUES ($1, $2, $3) \
             ON CONFLICT (engine) DO UPDATE SET since = cordons.since RETURNING since, cordoned_by";
        let (engine, by) = (engine.to_owned(), by.to_owned());
        let cordon = Cordon { since: Millis::now(), by };
        self.write(move |conn| {
            let stored = conn.first(SQL, &[&engine, &cordon.since, &cordon.by], |row| {
                Ok(Cordon { since: row.get("since")?, by: row.get("cordoned_by")? })
            })?;
            Ok(stored.unwrap_or(cordon))
        })
        .await
    }

    /// Deletes the cordon of an engine, if there is one.
    pub async fn uncordon(&self, engine: &str) -> Result<(), StoreError> {
        let engine = engine.to_owned();
        self.write(move |conn| {
            conn.execute("DELETE FROM cordons WHERE engine = $1", &[&engine])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_cordon_stays_until_it_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let first = store.cordon("unix:///a", "ann").await.unwrap();
        assert_eq!((first.by.as_str(), store.cordon("unix:///a", "bob").await.unwrap()), ("ann", first.clone()));
        store.close().await;
        let store = Store::open(dir.path()).await.unwrap();
        assert_eq!(store.cordons().await.unwrap(), BTreeMap::from([("unix:///a".to_owned(), first)]));
        store.uncordon("unix:///b").await.unwrap();
        store.uncordon("unix:///a").await.unwrap();
        assert!(store.cordons().await.unwrap().is_empty());
    }
}
