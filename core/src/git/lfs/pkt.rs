//! pkt-lines (gitprotocol-common(5)): four hexadecimal digits that count themselves and what follows them; `0000` is a
//! flush, `0001` a delimiter.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Longest data of one line.
const LONGEST: usize = 65516;
/// Longest silence of a server, as for HTTP.
const SILENCE: Duration = Duration::from_secs(60);

/// A pkt-line. Its data is in the reader until the next one is read.
#[derive(Debug, PartialEq, Eq)]
pub enum PktLine<'a> {
    Flush,
    Delimiter,
    Data(&'a [u8]),
}

/// Reads pkt-lines. It needs no more memory than the longest line.
pub struct PktReader<R> {
    stream: R,
    line: Vec<u8>,
    patience: Duration,
}

impl<R: AsyncRead + Unpin> PktReader<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, line: Vec::new(), patience: SILENCE }
    }

    /// Reads the next pkt-line.
    ///
    /// # Errors
    /// `InvalidData` for anything else than a pkt-line, `UnexpectedEof` at the stream's end, `TimedOut` after silence.
    pub async fn next(&mut self) -> io::Result<PktLine<'_>> {
        timeout(self.patience, self.read()).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
        Ok(match &self.line[..] {
            b"0000" => PktLine::Flush,
            b"0001" => PktLine::Delimiter,
            line => PktLine::Data(&line[4..]),
        })
    }

    async fn read(&mut self) -> io::Result<()> {
        let no_packet = || io::Error::new(ErrorKind::InvalidData, "it is no packet");
        self.line.resize(4, 0);
        self.stream.read_exact(&mut self.line).await?;
        let digits = std::str::from_utf8(&self.line).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let length = digits.and_then(|text| usize::from_str_radix(text, 16).ok()).ok_or_else(no_packet)?;
        match length {
            0 | 1 => Ok(()),
            // An empty line is invalid, because a stream of empty lines would have no end.
            5.. if length - 4 <= LONGEST => {
                self.line.resize(length, 0);
                self.stream.read_exact(&mut self.line[4..]).await.map(drop)
            }
            _ => Err(no_packet()),
        }
    }
}

/// Writes a message: each text as a line, with a delimiter before the `lines` if there are some.
pub fn message(command: &str, arguments: &[String], lines: Option<&[String]>) -> Vec<u8> {
    let mut message = Vec::new();
    let mut add = |text: &str| message.extend(format!("{:04x}{text}\n", text.len() + 5).into_bytes());
    add(command);
    arguments.iter().for_each(|argument| add(argument));
    if let Some(lines) = lines {
        message.extend(b"0001");
        for line in lines {
            message.extend(format!("{:04x}{line}\n", line.len() + 5).into_bytes());
        }
    }
    message.extend(b"0000");
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn packets_are_read_as_they_were_written() {
        let sent = message("batch", &["transfer=ssh".into()], Some(&["a 1".into()]));
        assert_eq!(sent, b"000abatch\n0011transfer=ssh\n00010008a 1\n0000");
        let mut packets = PktReader::new(&sent[..]);
        for expected in [PktLine::Data(b"batch\n"), PktLine::Data(b"transfer=ssh\n"), PktLine::Delimiter] {
            assert_eq!(packets.next().await.unwrap(), expected);
        }
        assert_eq!(packets.next().await.unwrap(), PktLine::Data(b"a 1\n"));
        assert_eq!(packets.next().await.unwrap(), PktLine::Flush);
        assert_eq!(packets.next().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        for (bad, kind) in [
            (&b"bash"[..], ErrorKind::InvalidData),
            (b"+005a", ErrorKind::InvalidData),
            (b"0002", ErrorKind::InvalidData),
            (b"0004", ErrorKind::InvalidData),
            (b"fff1", ErrorKind::InvalidData),
            (b"000aabc", ErrorKind::UnexpectedEof),
            (b"00", ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(PktReader::new(bad).next().await.unwrap_err().kind(), kind, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let mut packets = PktReader { patience: Duration::from_millis(1), ..PktReader::new(ours) };
        assert_eq!(packets.next().await.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    proptest! {
        #[test]
        fn any_stream_comes_to_an_end(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let mut packets = PktReader::new(&bytes[..]);
                while packets.next().await.is_ok() {}
            });
        }
    }
}
