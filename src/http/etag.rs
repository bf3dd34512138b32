use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

/// Gives an answer that is in memory its `ETag`, half of the SHA-256 of its body. Where `If-None-Match` has that tag, the
/// answer is 304 without a body (RFC 9110, section 13).
pub async fn unless_known(response: Response, request: &HeaderMap) -> Response {
    let (mut parts, body) = response.into_parts();
    // The body cannot fail, because it is in memory.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..16]));
    let is_known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|tags| {
        tags.split(',').map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    });
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, body.into())
}
