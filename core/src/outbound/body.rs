use reqwest::Response;
use zeroize::Zeroizing;

/// The reason why a body was not read to its end.
#[derive(Debug)]
pub enum BodyError {
    /// The body is longer than the caller allows.
    TooLong,
    /// The connection broke.
    Broken(reqwest::Error),
}

impl From<reqwest::Error> for BodyError {
    fn from(error: reqwest::Error) -> Self {
        Self::Broken(error)
    }
}

/// Reads a body of at most `limit` bytes. The bytes are zeroized when they are dropped, because an answer may hold a
/// token.
///
/// # Errors
/// The body is longer, or the connection breaks.
pub async fn read_limited(response: &mut Response, limit: usize) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(body: &'static str) -> Response {
        axum::http::Response::new(body).into()
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read_limited(&mut response("12345"), 5).await.unwrap().as_slice(), b"12345");
        assert!(matches!(read_limited(&mut response("123456"), 5).await, Err(BodyError::TooLong)));
    }
}
