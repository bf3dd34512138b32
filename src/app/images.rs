//! Gives the pipeline the repositories that have pushed an image, from the store.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::model::Job;
use crate::pipeline::ImageUsers;
use crate::store::Store;

/// The pipeline knows no store.
pub struct StoredUsers(pub Store);

impl ImageUsers for StoredUsers {
    fn others<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Vec<String>, String>> {
        async { self.0.other_users(job).await.map_err(|e| e.to_string()) }.boxed()
    }
}
