//! Lists in pages: `?limit=&cursor=`. The cursor is the id of the last entry of the page before.

use std::collections::BTreeSet;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::messages;

/// Largest number of entries in one answer, and the number when the request names none.
const MAX_LIMIT: u32 = 1000;

/// Reads the parameters of a request.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let query = Query::try_from_uri(uri).map_err(|error| ApiError::with(&messages::BAD_QUERY, error.to_string()))?;
    Ok(query.0)
}

/// Returns the names of a request's parameters that are not known here, each once.
pub fn unknown_parameters(uri: &Uri, known: &[&str]) -> BTreeSet<String> {
    let names = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).map(|(name, _)| name.into_owned());
    names.filter(|name| !known.contains(&name.as_str())).collect()
}

/// The page that a request asks for.
pub struct PageRequest<C> {
    limit: u32,
    pub cursor: Option<C>,
}

impl<C: FromStr> PageRequest<C> {
    /// Reads the two parameters. `kind` names what is listed, for example "job".
    pub fn read(limit: Option<String>, cursor: Option<String>, kind: &str) -> Result<Self, ApiError> {
        let limit =
            limit.map_or(Some(MAX_LIMIT), |limit| limit.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)));
        let limit = limit.ok_or_else(|| ApiError::with(&messages::BAD_LIMIT, MAX_LIMIT.to_string()))?;
        let cursor = cursor.map(|cursor| cursor.parse()).transpose();
        let cursor = cursor.map_err(|_| ApiError::with(&messages::BAD_CURSOR, kind))?;
        Ok(Self { limit, cursor })
    }

    /// Number of entries to look for: one more than the page has, because that one shows whether there is another page.
    pub fn lookahead(&self) -> u32 {
        self.limit + 1
    }

    /// Cuts the entries to the page. Returns where the next page is, if there is one, as a part of a `Link` header.
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
