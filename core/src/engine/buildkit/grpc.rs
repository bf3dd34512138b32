//! The server side of gRPC over HTTP/2, as far as a build session needs it:
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
//!
//! The code is ours although tonic is among the locked crates, because it is small and tested by properties. It sends
//! 20,000 small messages in a few buffers, and nothing outlives the connection.

use std::convert::Infallible;
use std::fmt::Write as _;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use prost::Message;

/// Size limit of a message. The engine sends names, requests and acknowledgements, which are small.
const MAX_MESSAGE: usize = 4 << 20;

pub(in crate::engine) type GrpcBody = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Debug, Clone)]
pub(super) struct GrpcStatus {
    code: u8,
    pub message: String,
}

impl GrpcStatus {
    pub(in crate::engine) fn unknown(message: impl ToString) -> Self {
        Self { code: 2, message: message.to_string() }
    }
    pub(super) fn not_found(message: impl ToString) -> Self {
        Self { code: 5, message: message.to_string() }
    }
    pub(super) fn unimplemented(method: &str) -> Self {
        Self { code: 12, message: format!("{method} is not served here") }
    }
    pub(super) fn unauthenticated(message: impl ToString) -> Self {
        Self { code: 16, message: message.to_string() }
    }
    pub(in crate::engine) fn unavailable(message: impl ToString) -> Self {
        Self { code: 14, message: message.to_string() }
    }
}

/// The messages of a request, in the order of their arrival.
pub(super) struct GrpcMessages {
    body: Incoming,
    buffer: BytesMut,
}

impl GrpcMessages {
    pub(in crate::engine) fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// Returns the next message, or `None` after the last one.
    pub(in crate::engine) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, GrpcStatus> {
        loop {
            if let Some(message) = take(&mut self.buffer)? {
                return Ok(Some(M::decode(message).map_err(GrpcStatus::unknown)?));
            }
            match self.body.frame().await {
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(GrpcStatus::unknown("the stream ends inside a message")),
                Some(Err(e)) => return Err(GrpcStatus::unknown(e)),
                Some(Ok(frame)) => self.buffer.extend(frame.into_data().unwrap_or_default()),
            }
        }
    }
}

/// Takes a complete message from the front: one byte (compressed or not), the length, the message itself.
fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, GrpcStatus> {
    if buffer.len() < 5 {
        return Ok(None);
    }
    let length = u32::from_be_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
    if buffer[0] != 0 {
        return Err(GrpcStatus::unknown("compressed messages are not understood"));
    }
    if length > MAX_MESSAGE {
        return Err(GrpcStatus::unknown(format!("a message of {length} bytes is too long")));
    }
    if buffer.len() < 5 + length {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Appends a message, with its flag and its length before it.
pub(in crate::engine) fn put(buffer: &mut BytesMut, message: &impl Message) {
    let length = message.encoded_len();
    buffer.reserve(5 + length);
    buffer.put_u8(0);
    buffer.put_u32(length as u32);
    message.encode_raw(buffer);
}

/// Makes the trailers that end an answer.
pub(in crate::engine) fn end(result: Result<(), GrpcStatus>) -> Frame<Bytes> {
    let status = result.err().unwrap_or(GrpcStatus { code: 0, message: String::new() });
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", u16::from(status.code).into());
    let mut message = String::new();
    for byte in status.message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(byte.into()),
            _ => drop(write!(message, "%{byte:02X}")),
        }
    }
    if let (false, Ok(message)) = (message.is_empty(), HeaderValue::try_from(message)) {
        trailers.insert("grpc-message", message);
    }
    Frame::trailers(trailers)
}

pub(in crate::engine) fn answer(frames: impl Stream<Item = Frame<Bytes>> + Send + 'static) -> Response<GrpcBody> {
    let frames = futures_util::StreamExt::map(frames, Ok);
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Makes an answer that is only an error.
pub(in crate::engine) fn refusal(status: GrpcStatus) -> Response<GrpcBody> {
    answer(stream::iter([end(Err(status))]))
}

/// Answers a call that has one message with one message.
pub(super) async fn unary<Q: Message + Default, A: Message>(
    request: Request<Incoming>,
    f: impl AsyncFnOnce(Q) -> Result<A, GrpcStatus>,
) -> Response<GrpcBody> {
    let reply = match GrpcMessages::new(request.into_body()).next().await {
        Ok(message) => f(message.unwrap_or_default()).await,
        Err(status) => Err(status),
    };
    match reply {
        Ok(reply) => {
            let mut buffer = BytesMut::new();
            put(&mut buffer, &reply);
            answer(stream::iter([Frame::data(buffer.freeze()), end(Ok(()))]))
        }
        Err(status) => refusal(status),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_is_escaped_for_its_header() {
        let frame = end(Err(GrpcStatus::unknown("50 % of\nä")));
        let trailers = frame.into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "2");
        assert_eq!(trailers["grpc-message"], "50 %25 of%0A%C3%A4");
        assert_eq!(end(Ok(())).into_trailers().unwrap()["grpc-status"], "0");
    }

    proptest! {
        #[test]
        fn appended_messages_are_taken(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10)) {
            let mut buffer = BytesMut::new();
            for message in &messages {
                put(&mut buffer, message);
            }
            for message in &messages {
                let taken = take(&mut buffer).unwrap().unwrap();
                prop_assert_eq!(&Vec::<u8>::decode(taken).unwrap(), message);
            }
            prop_assert!(take(&mut buffer).unwrap().is_none());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut buffer) {}
        }
    }
}
