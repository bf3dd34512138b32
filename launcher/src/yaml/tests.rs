use super::*;
use crate::python;

fn read_text(text: &str) -> Result<String, String> {
    read(text).map(|node| python::repr(&node.value())).map_err(|error| format!("{}: {}", error.line, error.text))
}

#[test]
fn scalars_are_those_of_salt() {
    // What salt 3008.4 makes of the same words.
    for (text, expected) in [
        ("yes", "True"),
        ("Off", "False"),
        ("oN", "'oN'"),
        ("~", "None"),
        ("010", "10"),
        ("-010", "-8"),
        ("0755", "755"),
        ("0o10", "'0o10'"),
        ("0x1f", "31"),
        ("0b101", "5"),
        ("089", "'089'"),
        ("1_000", "1000"),
        ("12:30", "750"),
        ("12:30:45", "45045"),
        ("12:75", "'12:75'"),
        ("1e3", "'1e3'"),
        ("1.0e+3", "1000.0"),
        ("1.", "1.0"),
        (".5", "0.5"),
        ("-.5", "'-.5'"),
        ("1.5:30", "'1.5:30'"),
        ("1:30.5", "90.5"),
        ("1e400", "'1e400'"),
        ("2026-11-28", "'2026-11-28'"),
        ("!!int '010'", "10"),
        ("!!str 1", "'1'"),
        ("-.inf", "-inf"),
        ("1e16", "'1e16'"),
        ("10000000000000000.0", "1e+16"),
    ] {
        assert_eq!(read_text(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn merges_keep_what_stands_there() {
    let text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc:\n  <<: [*a, {z: 4}]\n";
    let expected = "{'a': {'x': 1, 'y': 2}, 'b': {'x': 1, 'y': 3}, 'c': {'z': 4, 'x': 1, 'y': 2}}";
    assert_eq!(read_text(text).as_deref(), Ok(expected));
}

#[test]
fn what_salt_refuses_is_refused() {
    for (text, expected) in [
        ("a: 1\nb: 2\na: 3\n", "3: the key `a` occurs twice"),
        ("a: {{ b }}\n", "1: a list or a mapping is no key; a value that begins with `{` needs quotes"),
        ("a: =\n", "1: `=` needs quotes"),
        ("a: !!python/object x\n", "1: the tag tag:yaml.org,2002:python/object is unknown"),
        ("a: 1\n---\nb: 2\n", "2: there is a second document"),
        ("a: \u{1}\n", "1: control characters are not allowed"),
    ] {
        assert_eq!(read_text(text), Err(expected.into()), "{text}");
    }
}

#[test]
fn a_document_has_bounds() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let names = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{names}]\n");
    }
    assert_eq!(read_text(&bomb), Err("5: there are more than 50000 values".into()));
    assert_eq!(read_text(&"[".repeat(100)), Err("1: values are nested more than 64 times".into()));
}

#[test]
fn whitespace_is_that_of_libyaml() {
    // What salt 3008.4 makes of the same texts.
    for (text, expected) in [
        ("a:\tb\nc: \t1\n", Ok("{'a': 'b', 'c': 1}")),
        ("a: [\n\t1,\t2\n\t]\n", Ok("{'a': [1, 2]}")),
        ("a: [\n1\n]\nb: {\n}\n", Ok("{'a': [1], 'b': {}}")),
        ("a: \"b\n\tc\"\nd: 'e\n\tf'\n", Ok("{'a': 'b c', 'd': 'e f'}")),
        ("a: \"b\nc\"#d\ne: [1]#f\n", Ok("{'a': 'b c', 'e': [1]}")),
        ("a: b\n \tc\t# d\n", Ok("{'a': 'b c'}")),
        ("a: &x b\nc: [*x,\t*x]\nd:\n  e: 1\n", Ok("{'a': 'b', 'c': ['b', 'b'], 'd': {'e': 1}}")),
        ("a: |\n  b\n  \tc\n", Ok("{'a': \"b\\n\\tc\\n\"}")),
        ("\ta: 1\n", Err("1: a tab stands in the place of spaces; write spaces")),
        ("a:\n\tb: 1\n", Err("2: a tab stands in the place of spaces; write spaces")),
        ("a:\n  -\tb\n", Err("2: a tab stands in the place of spaces; write spaces")),
        ("a: 'b'\n\t\nc: 1\n", Err("2: a tab stands in the place of spaces; write spaces")),
        ("a: |\n  b\n\t\nc: 1\n", Err("3: a tab stands in the place of spaces; write spaces")),
        ("\t# a\n", Err("1: a tab stands in the place of spaces; write spaces")),
        (": 1\n", Err("1: a key is missing before `:`")),
    ] {
        assert_eq!(read_text(text).as_deref().map_err(String::as_str), expected, "{text:?}");
    }
}
