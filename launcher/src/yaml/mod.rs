//! YAML as Salt reads it: the syntax by saphyr-parser, the meaning of scalars, merges and keys by PyYAML's and Salt's
//! loaders (`salt/utils/yamlloader.py` of 3008).

mod dump;
mod node;
mod resolve;
mod whitespace;

use std::collections::{HashMap, HashSet};

use minijinja::Value;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

pub use dump::{Flow, double_quoted, dump, sorted};
pub use node::{Content, Node, ordered};
pub use resolve::plain as resolve_plain;

/// Largest number of values of a document, aliases counted as what they stand for. A hundred lines can name a value in
/// so many places that no memory holds them.
const LARGEST: usize = 50_000;
/// Depth to which lists and mappings may be nested, because each takes a part of the stack.
const DEEPEST: usize = 64;
const CORE: &str = "tag:yaml.org,2002:";

/// The reason why a text is no YAML of Salt's, and its line from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub line: usize,
    pub text: String,
}

/// Returns the one document of a text. An empty one is `None`.
///
/// # Errors
/// A text that Salt does not read, too, or a document without bounds.
pub fn read(text: &str) -> Result<Node, Unreadable> {
    if let Some(at) = text.find(|c| !is_printable(c)) {
        let line = text[..at].matches('\n').count() + 1;
        return Err(Unreadable { line, text: "control characters are not allowed".into() });
    }
    if text.contains('\t') {
        return read_normalized(&whitespace::normalized(text)?);
    }
    read_normalized(text).or_else(|error| match whitespace::normalized(text) {
        Ok(normalized) => read_normalized(&normalized).map_err(|_| error),
        Err(_) => Err(error),
    })
}

fn read_normalized(text: &str) -> Result<Node, Unreadable> {
    let mut reader =
        Reader { events: Parser::new_from_str(text), anchors: HashMap::new(), count: 0, line: 1, is_empty: false };
    let node = loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd => return Ok(Node::scalar(1, Value::from(()))),
            first => break reader.node(first, 0)?,
        }
    };
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(node),
            Event::DocumentEnd | Event::Nothing => {}
            _ => return Err(reader.unreadable("there is a second document")),
        }
    }
}

/// The characters that PyYAML's reader takes.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

struct Reader<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> {
    events: I,
    anchors: HashMap<usize, Node>,
    /// Number of values so far.
    count: usize,
    /// Line of the last event.
    line: usize,
    /// True if nothing of the text is the last event's.
    is_empty: bool,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Reader<'a, I> {
    fn unreadable(&self, text: impl Into<String>) -> Unreadable {
        Unreadable { line: self.line, text: text.into() }
    }

    fn next(&mut self) -> Result<Event<'a>, Unreadable> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                self.is_empty = span.start.index() == span.end.index();
                Ok(event)
            }
            Some(Err(error)) => Err(Unreadable { line: error.marker().line(), text: error.info().to_owned() }),
            None => Err(self.unreadable("the text ends too early")),
        }
    }

    fn add(&mut self, count: usize) -> Result<(), Unreadable> {
        self.count += count;
        if self.count > LARGEST {
            return Err(self.unreadable(format!("there are more than {LARGEST} values")));
        }
        Ok(())
    }

    /// Returns the value that begins with this event.
    fn node(&mut self, first: Event<'a>, depth: usize) -> Result<Node, Unreadable> {
        self.add(1)?;
        if depth > DEEPEST {
            return Err(self.unreadable(format!("values are nested more than {DEEPEST} times")));
        }
        let line = self.line;
        let (anchor, node) = match first {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref())?;
                (anchor, Node::scalar(line, value))
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq")?;
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        item => list.push(self.node(item, depth + 1)?),
                    }
                }
                (anchor, Node { line, content: Content::List(list) })
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map")?;
                (anchor, Node { line, content: Content::Map(self.mapping(depth)?) })
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| self.unreadable("an alias lies within what it stands for"))?;
                self.add(node.size())?;
                return Ok(node);
            }
            _ => return Err(self.unreadable("a value is missing")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, Unreadable> {
        let mut own: Vec<(Node, Node)> = Vec::new();
        let mut merged: Vec<(Node, Node)> = Vec::new();
        loop {
            let (event, line) = (self.next()?, self.line);
            let key = match event {
                Event::MappingEnd => break,
                // libyaml has no keys without a text, unless a `?` announces them.
                Event::Scalar(_, ScalarStyle::Plain, 0, None) if self.is_empty => {
                    return Err(self.unreadable("a key is missing before `:`"));
                }
                // `=` stands for itself in a key alone.
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "=" => Node::scalar(line, Value::from("=")),
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => {
                    let item = self.next()?;
                    let node = self.node(item, depth + 1)?;
                    self.line = line;
                    merged.extend(self.to_merge(node)?);
                    continue;
                }
                event => self.node(event, depth + 1)?,
            };
            if !matches!(key.content, Content::Scalar(_)) {
                let text = "a list or a mapping is no key; a value that begins with `{` needs quotes";
                return Err(Unreadable { line, text: text.into() });
            }
            let item = self.next()?;
            own.push((key, self.node(item, depth + 1)?));
        }
        let names: HashSet<String> = own.iter().map(|(key, _)| key.value().to_string()).collect();
        merged.retain(|(key, _)| !names.contains(&key.value().to_string()));
        merged.append(&mut own);
        let mut seen = HashSet::new();
        match merged.iter().find(|(key, _)| !seen.insert(key.value())) {
            Some((key, _)) => {
                Err(Unreadable { line: key.line, text: format!("the key `{}` occurs twice", key.value()) })
            }
            None => Ok(merged),
        }
    }

    /// Returns the pairs that `<<` brings. The last mapping of a list comes first, as in Salt.
    fn to_merge(&self, node: Node) -> Result<Vec<(Node, Node)>, Unreadable> {
        let nodes = match node.content {
            Content::List(nodes) => nodes,
            content => vec![Node { line: node.line, content }],
        };
        let pairs = nodes.into_iter().rev().map(|node| match node.content {
            Content::Map(pairs) => Ok(pairs),
            _ => Err(self.unreadable("`<<` takes a mapping, or a list of mappings")),
        });
        Ok(pairs.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn check_tag(&self, tag: Option<&Tag>, expected: &str) -> Result<(), Unreadable> {
        match tag {
            Some(tag)
                if tag.handle != CORE
                    || (tag.suffix != expected && (tag.suffix.as_str(), expected) != ("omap", "seq")) =>
            {
                Err(self.unknown(tag))
            }
            _ => Ok(()),
        }
    }

    fn unknown(&self, tag: &Tag) -> Unreadable {
        self.unreadable(format!("the tag {}{} is unknown", tag.handle, tag.suffix))
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Unreadable> {
        match tag {
            None if style != ScalarStyle::Plain => Ok(text.into()),
            None if ["=", "<<"].contains(&text) => Err(self.unreadable(format!("`{text}` needs quotes"))),
            None => resolve::plain(text).ok_or_else(|| self.unreadable(format!("the number {text} is too large"))),
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(text.into()),
            Some(tag) if tag.handle == CORE => {
                let value = resolve::tagged(text, &tag.suffix).ok_or_else(|| self.unknown(tag))?;
                value.ok_or_else(|| self.unreadable(format!("the text is no value of the tag !!{}", tag.suffix)))
            }
            Some(tag) => Err(self.unknown(tag)),
        }
    }
}

#[cfg(test)]
mod tests;
