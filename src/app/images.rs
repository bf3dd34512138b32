//! Gives the pipeline the repositories that have pushed an image, from the store.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::model::Job;
use crate::pipeline::ImageUsers;
use crate::store::Store;

impl ImageUsers for Store {
    fn others<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Vec<String>, String>> {
        async { self.other_users(job).await.map_err(|e| e.to_string()) }.boxed()
    }
}
