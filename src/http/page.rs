//! Lists in pages, newest first: `?limit=&cursor=`, where the cursor is the id of the last one that the page before showed.

use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::error::Error;

/// The most that one answer lists, and how many it lists when nobody says.
const MOST: u32 = 1000;

/// The parameters of a request.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    let read = Query::try_from_uri(uri).map_err(|error| Error::Argument(format!("The query cannot be read: {error}")));
    Ok(read?.0)
}

/// Which page is asked for.
pub struct Page<C> {
    limit: u32,
    pub cursor: Option<C>,
}

impl<C: FromStr> Page<C> {
    /// `kind` is what is listed, as "job".
    pub fn read(limit: Option<String>, cursor: Option<String>, kind: &str) -> Result<Self, Error> {
        let limit = limit.map_or(Some(MOST), |limit| limit.parse().ok().filter(|limit| (1..=MOST).contains(limit)));
        let limit = limit.ok_or_else(|| Error::Argument(format!("limit is a number from 1 to {MOST}")))?;
        let cursor = cursor.map(|cursor| cursor.parse()).transpose();
        let cursor = cursor.map_err(|_| Error::Argument(format!("cursor is the id of a {kind}")))?;
        Ok(Self { limit, cursor })
    }

    /// How many to look for: one more than asked for tells whether there is another page.
    pub fn ahead(&self) -> u32 {
        self.limit + 1
    }

    /// Leaves what was asked for, and says where the next page is, if there is one, as a part of a `Link` header.
    pub fn cut<T, I: ToString>(
        &self,
        found: &mut Vec<T>,
        id: impl Fn(&T) -> I,
        path: &str,
        filters: &[(&str, Option<&str>)],
    ) -> Option<String> {
        let more = found.len() > self.limit as usize;
        found.truncate(self.limit as usize);
        let last = found.last().filter(|_| more)?;
        let mut next = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
        next.append_pair("limit", &self.limit.to_string()).append_pair("cursor", &id(last).to_string());
        next.extend_pairs(filters.iter().filter_map(|(name, value)| Some((name, (*value)?))));
        Some(format!(r#"<{}>; rel="next""#, next.finish()))
    }
}
