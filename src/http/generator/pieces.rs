use serde_json::json;

/// Longest line of a log in one piece, in bytes. The engine's pieces had as many at most.
const LONGEST: usize = 4096;
/// Beginning of the line by which the classic builder reports success. Clients look for it, because there is no other sign.
const BUILT: &str = "Successfully built ";
/// Beginning of our own line about a built image, which follows the builder's output.
const IMAGE: &str = "image: sha256:";

/// Cuts a stored log into the pieces of a Docker Engine's answer to `POST /build`: one JSON object a line. Which pieces a log
/// has depends on its bytes alone, and not on how they come, so each piece keeps its number while the log grows.
#[derive(Default)]
pub struct LogPieces {
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    is_built: bool,
}

impl LogPieces {
    /// Takes the next bytes of the log, and returns the pieces that are whole now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let (mut pieces, mut begin) = (Vec::new(), 0);
        loop {
            let rest = &self.rest[begin..];
            let length = match rest[..rest.len().min(LONGEST)].iter().position(|&byte| byte == b'\n') {
                Some(end) => end + 1,
                None if rest.len() >= LONGEST => character_end(rest),
                None => break,
            };
            let line = String::from_utf8_lossy(&rest[..length]).into_owned();
            begin += length;
            pieces.push(self.piece(&line));
        }
        self.rest.drain(..begin);
        pieces
    }

    /// Returns the last piece of a log that has ended without a line break.
    pub fn finish(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned();
        (!line.is_empty()).then(|| self.piece(&line))
    }

    fn piece(&mut self, line: &str) -> String {
        // BuildKit reports no success in words.
        let built = line.strip_prefix(IMAGE).and_then(|digest| digest.get(..12)).filter(|_| !self.is_built);
        let line = built.map_or(line.to_owned(), |id| format!("{BUILT}{id}\n"));
        self.is_built |= line.starts_with(BUILT);
        format!("{}\r\n", json!({ "stream": line }))
    }
}

/// Returns the piece for a failure, as the engine wrote it.
pub fn failure(cause: &str) -> String {
    format!("{}\r\n", json!({ "errorDetail": { "message": cause }, "error": cause }))
}

/// Returns the length of the first `LONGEST` bytes without the last character, which may be cut there.
fn character_end(text: &[u8]) -> usize {
    let begins = |at: &usize| text[*at] & 0b1100_0000 != 0b1000_0000;
    (LONGEST - 4..LONGEST).rev().find(begins).unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(log: &[u8], cuts: &[usize]) -> Vec<String> {
        let (mut pieces, mut all, mut rest) = (LogPieces::default(), Vec::new(), log);
        for &cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            all.extend(pieces.push(now));
            rest = later;
        }
        all.extend(pieces.push(rest));
        all.extend(pieces.finish());
        all
    }

    #[test]
    fn a_line_is_a_piece_of_the_engines_json() {
        let log = format!("Step 1/1 : FROM \"a\"\n\nimage: sha256:{}\n\x1b[1mlast", "0123456789abcdef".repeat(4));
        let built = r#"{"stream":"Successfully built 0123456789ab\n"}"#;
        let expected =
            [r#"{"stream":"Step 1/1 : FROM \"a\"\n"}"#, r#"{"stream":"\n"}"#, built, r#"{"stream":"\u001b[1mlast"}"#];
        assert_eq!(whole(log.as_bytes(), &[]), expected.map(|piece| format!("{piece}\r\n")));
        // The classic builder has said it already.
        let log = format!("Successfully built 0123\nimage: sha256:{}\n", "0123456789abcdef".repeat(4));
        assert!(whole(log.as_bytes(), &[])[1].contains("image: sha256:"));
        assert_eq!(
            failure("it \"broke\""),
            "{\"error\":\"it \\\"broke\\\"\",\"errorDetail\":{\"message\":\"it \\\"broke\\\"\"}}\r\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        for character in ["x", "é", "日", "🦀"] {
            let line = format!("{}\n", character.repeat(5000));
            let pieces = whole(line.as_bytes(), &[]);
            let text = |piece: &String| {
                serde_json::from_str::<serde_json::Value>(piece).unwrap()["stream"].as_str().unwrap().to_owned()
            };
            assert!(pieces.len() > 1 && pieces.iter().all(|piece| text(piece).len() <= LONGEST));
            assert_eq!(pieces.iter().map(text).collect::<String>(), line);
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_depend_on_how_the_log_comes(
            lines in prop::collection::vec("[a-zé\\n🦀]{0,3000}", 0..4),
            cuts in prop::collection::vec(0usize..5000, 0..8),
        ) {
            let log = lines.join("\n");
            prop_assert_eq!(whole(log.as_bytes(), &cuts), whole(log.as_bytes(), &[]));
        }
    }
}
