//! Salt's own tags, written as Jinja's: `{% import_yaml "f" as x %}` becomes `{% set x = import_yaml("f") %}`, and
//! `{% load_yaml as x %}…{% endload %}` a block of `set` with a filter. Line numbers stay.

/// Returns the template without Salt's tags.
pub fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = match from.as_bytes().get(1) {
            Some(b'#') => from[2..].find("#}").map(|at| at + 4),
            Some(b'{') => end_of(from, "}}"),
            Some(b'%') => end_of(from, "%}"),
            _ => Some(1),
        };
        let Some(mut end) = end else {
            rest = from;
            break;
        };
        let tag = &from[..end];
        if from.starts_with("{%") {
            let words = tag[2..end - 2].trim_start_matches(['-', '+']).trim_end_matches(['-', '+']);
            if words.trim() == "raw" {
                end = end_of_raw(from, end);
                out.push_str(&from[..end]);
            } else {
                match of_jinja(words) {
                    Some(words) => {
                        let (open, close) = (sign(tag.as_bytes()[2]), sign(tag.as_bytes()[end - 3]));
                        out.push_str(&format!("{{%{open} {words} {close}%}}"));
                    }
                    None => out.push_str(tag),
                }
            }
        } else {
            out.push_str(tag);
        }
        rest = &from[end..];
    }
    out + rest
}

fn sign(byte: u8) -> &'static str {
    match byte {
        b'-' => "-",
        b'+' => "+",
        _ => "",
    }
}

/// Returns the end of a tag. A close mark between quotes is none.
fn end_of(from: &str, close: &str) -> Option<usize> {
    let bytes = from.as_bytes();
    let (mut quote, mut at) = (None, 2);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(mark), byte) if mark == byte => quote = None,
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, _) if bytes[at..].starts_with(close.as_bytes()) => return Some(at + 2),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Returns the end of `{% endraw %}`.
fn end_of_raw(from: &str, begin: usize) -> usize {
    let mut at = begin;
    while let Some(found) = from[at..].find("{%") {
        let start = at + found;
        let Some(length) = from[start + 2..].find("%}") else { break };
        let end = start + length + 4;
        if from[start + 2..end - 2].trim_matches(['-', '+', ' ', '\t', '\n']) == "endraw" {
            return end;
        }
        at = start + 2;
    }
    from.len()
}

/// Returns the words of Jinja's tag in the place of Salt's one.
fn of_jinja(words: &str) -> Option<String> {
    let words = words.trim();
    let (tag, rest) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    match tag {
        "endload" => Some("endset".into()),
        "load_yaml" | "load_json" | "load_text" => {
            let name = rest.trim().strip_prefix("as")?.trim();
            Some(format!("set {name} | {tag}"))
        }
        "import_yaml" | "import_json" | "import_text" => {
            let rest =
                rest.strip_suffix("with context").or_else(|| rest.strip_suffix("without context")).unwrap_or(rest);
            let (file, name) = rest.trim().rsplit_once(char::is_whitespace)?;
            let file = file.trim_end().strip_suffix("as")?.trim();
            Some(format!("set {name} = {tag}({file})"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn the_tags_of_salt_become_those_of_jinja() {
        for (from, to) in [
            ("{% import_yaml 'a.yml' as a %}\n", "{% set a = import_yaml('a.yml') %}\n"),
            ("{%- import_yaml f ~ '%}' as a with context -%}", "{%- set a = import_yaml(f ~ '%}') -%}"),
            ("{% load_yaml as x %}a: 1{% endload %}", "{% set x | load_yaml %}a: 1{% endset %}"),
            ("{% raw %}{% endload %}{% endraw %}{% endload %}", "{% raw %}{% endload %}{% endraw %}{% endset %}"),
            ("{# {% endload %} #}{{ '{% endload %}' }}{%", "{# {% endload %} #}{{ '{% endload %}' }}{%"),
            ("a { b {", "a { b {"),
            ("{% raw %}{%}{% endraw %}{#}#}{%}", "{% raw %}{%}{% endraw %}{#}#}{%}"),
        ] {
            assert_eq!(translate(from), to);
        }
    }
}
