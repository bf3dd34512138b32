use std::error::Error;
use std::{io, iter};

/// Writes an error with its causes as one line: `error sending request: connection refused`.
pub fn chain(error: &dyn Error) -> String {
    let causes = iter::successors(error.source(), |cause| (**cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Lists an error and its causes, outermost first. An I/O error is followed by the error that it wraps, because its own
/// `source` skips that one.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |cause| {
        let cause: &'a (dyn Error + 'static) = *cause;
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| cause.source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("request failed")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_are_listed_with_what_an_io_error_wraps() {
        let error = Outer(io::Error::other(io::Error::other("no route")));
        assert_eq!(chain(&error), "request failed: no route");
        let listed: Vec<String> = causes(&error).map(ToString::to_string).collect();
        assert_eq!(listed, ["request failed", "no route", "no route", "no route"]);
    }
}
