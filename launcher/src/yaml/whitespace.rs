//! Whitespace where libyaml and the parser here differ. libyaml takes tabs between tokens in brackets, behind a colon and
//! within quotes, and none where it would be an indentation (`yaml_parser_scan_to_next_token`). What stands
//! between quotes or in brackets may go on in the first column, and a comment may stand right behind a quote or a bracket.

use super::Unreadable;

/// Returns the text with whitespace that both take, and with the same lines.
///
/// # Errors
/// A tab stands where libyaml takes none.
pub fn normalized(text: &str) -> Result<String, Unreadable> {
    let mut scanner = Scanner::default();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if scanner.line(line).is_none() {
            let text = "a tab stands in the place of spaces; write spaces".to_owned();
            return Err(Unreadable { line: at + 1, text });
        }
    }
    Ok(scanner.out)
}

/// The state between two lines.
#[derive(Default)]
struct Scanner {
    out: String,
    /// Number of brackets and braces that are open.
    flow: usize,
    /// The quote that is open.
    quote: Option<char>,
    /// True if the last token is a scalar without quotes, which the next line may go on with.
    is_plain: bool,
    /// Column of the last key or dash.
    indent: Option<usize>,
    /// The scalar behind `|` or `>`: the columns of what it belongs to, and of its text once that is known.
    block: Option<(Option<usize>, Option<usize>)>,
}

impl Scanner {
    /// Copies a line, or returns `None` if it has a tab in a wrong place.
    fn line(&mut self, line: &str) -> Option<()> {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        let rest = &line[spaces..];
        if let Some((parent, text)) = self.block {
            let is_blank = rest.trim_end().is_empty();
            if is_blank || parent.is_none_or(|parent| spaces > parent) {
                if rest.starts_with('\t') && text.is_none_or(|text| spaces < text) {
                    return None;
                }
                if !is_blank {
                    self.block = Some((parent, text.or(Some(spaces))));
                }
                self.out.push_str(line);
                return Some(());
            }
            self.block = None;
        }
        self.out.push_str(&line[..spaces]);
        let goes_on = self.is_plain && self.indent.is_none_or(|indent| spaces > indent);
        if rest.starts_with('\t') && self.quote.is_none() && self.flow == 0 && !goes_on {
            return None;
        }
        if (self.quote.is_some() || self.flow > 0) && !line.starts_with("---") && !line.starts_with("...") {
            // The blanks at its begin are no part of what stands there.
            self.out.extend(std::iter::repeat_n(' ', self.indent.unwrap_or_default() + 1));
        }
        let blanks = rest.len() - rest.trim_start_matches(['\t', ' ']).len();
        self.out.extend(std::iter::repeat_n(' ', blanks));
        if rest[blanks..].trim_end().is_empty() {
            self.out.push_str(&rest[blanks..]);
            return Some(());
        }
        let is_plain = std::mem::take(&mut self.is_plain) && (goes_on || self.flow > 0);
        self.tokens(line, spaces + blanks, is_plain)
    }

    /// Copies the tokens of a line from this byte on, which the former line's scalar may go on with.
    fn tokens(&mut self, line: &str, mut at: usize, mut is_plain: bool) -> Option<()> {
        // A key's colon is one that stands behind a token.
        let mut key: Option<usize> = None;
        let mut may_be_tab = true;
        while let Some(c) = line[at..].chars().next() {
            let ends = |at: usize| line[at..].chars().next().is_none_or(char::is_whitespace);
            let begin = at;
            if let Some(quote) = self.quote {
                at = self.quoted(line, at, quote);
                may_be_tab = true;
                continue;
            }
            match c {
                '\t' if !may_be_tab && self.flow == 0 => return None,
                ' ' | '\t' if !is_plain => {
                    self.out.push(' ');
                    at += 1;
                    continue;
                }
                '\n' | '\r' => {}
                '#' if !is_plain || at == 0 || line[..at].ends_with([' ', '\t']) => {
                    self.out.push(' ');
                    self.out.push_str(&line[at..]);
                    return Some(());
                }
                '-' | '?' if !is_plain && self.flow == 0 && ends(at + 1) => {
                    self.indent = Some(begin);
                    (key, may_be_tab) = (None, false);
                    self.out.push(c);
                    at += 1;
                    continue;
                }
                ':' if !is_plain && (ends(at + 1) || self.flow > 0) => {
                    if self.flow == 0 {
                        self.indent = key.or(Some(begin));
                    }
                    may_be_tab = key.is_some();
                    key = None;
                    self.out.push(c);
                    at += 1;
                    continue;
                }
                '"' | '\'' if !is_plain => {
                    self.quote = Some(c);
                    self.out.push(c);
                    key.get_or_insert(begin);
                    at += 1;
                    continue;
                }
                '[' | '{' if !is_plain => self.flow += 1,
                ']' | '}' | ',' if self.flow > 0 => {
                    self.flow -= usize::from(c != ',');
                    is_plain = false;
                }
                '|' | '>' if !is_plain && self.flow == 0 => {
                    let digit = line[at..].chars().skip(1).take(2).find_map(|c| c.to_digit(10));
                    let text = digit.map(|digit| self.indent.map_or(0, |indent| indent) + digit as usize);
                    self.block = Some((self.indent, text));
                    self.out.push_str(&line[at..]);
                    return Some(());
                }
                '&' | '*' | '!' if !is_plain => {
                    let is_end = |c: char| c.is_whitespace() || (self.flow > 0 && ",[]{}".contains(c));
                    let length = line[at..].find(is_end).unwrap_or(line.len() - at);
                    self.out.push_str(&line[at..at + length]);
                    key.get_or_insert(begin);
                    may_be_tab = true;
                    at += length;
                    continue;
                }
                _ => {
                    key.get_or_insert(begin);
                    at = self.plain(line, at);
                    (is_plain, may_be_tab) = (false, true);
                    // The rest of the line is a comment, or nothing.
                    self.is_plain = line[at..].trim_start().is_empty();
                    continue;
                }
            }
            self.out.push(c);
            key.get_or_insert(begin);
            may_be_tab = true;
            at += c.len_utf8();
        }
        Some(())
    }

    /// Copies a scalar without quotes, and returns its end in the line.
    fn plain(&mut self, line: &str, from: usize) -> usize {
        let is_blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
        let end = line[from..].char_indices().find(|(at, c)| {
            let (before, after) =
                (line[..from + at].chars().next_back(), line[from + at + c.len_utf8()..].chars().next());
            match c {
                ':' => is_blank(after) || (self.flow > 0 && after.is_some_and(|c| ",[]{}".contains(c))),
                '#' => *at > 0 && is_blank(before),
                ',' | '[' | ']' | '{' | '}' => self.flow > 0,
                '\n' | '\r' => true,
                _ => false,
            }
        });
        let end = from + end.map_or(line.len() - from, |(at, _)| at);
        let end = from + line[from..end].trim_end().len();
        self.out.push_str(&line[from..end]);
        end
    }

    /// Copies the rest of what stands between quotes, and returns the end of it in the line.
    fn quoted(&mut self, line: &str, from: usize, quote: char) -> usize {
        let mut chars = line[from..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            self.out.push(c);
            let next = chars.peek().map(|(_, next)| *next);
            match c {
                '\\' if quote == '"' => self.out.extend(chars.next().map(|(_, c)| c)),
                _ if c == quote && quote == '\'' && next == Some('\'') => {
                    self.out.extend(chars.next().map(|(_, c)| c));
                }
                _ if c == quote => {
                    self.quote = None;
                    return from + at + 1;
                }
                _ => {}
            }
        }
        line.len()
    }
}
