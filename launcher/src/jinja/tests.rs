use super::*;

fn render(text: &str) -> Result<Rendered, String> {
    let empty = Value::from_pairs(Vec::<(Value, Value)>::new());
    let pillar = Value::from_pairs([("a", Value::from_pairs([("b", vec![1, 2])]))]);
    let renderer = Renderer::new(pillar, empty.clone(), empty, Roots::new([]));
    renderer.render(Path::new("t"), text, &BTreeMap::new()).map_err(|problem| problem.to_string())
}

#[test]
fn lines_know_where_they_come_from() {
    let rendered =
        render("a\n{% if true %}\nb {{ 'x\ny' }} c\n{% endif %}\n{% for i in [1, 2] %}\n{{ i }}\n{% endfor %}z\n")
            .unwrap();
    let lines: Vec<(&str, usize)> =
        rendered.text.lines().enumerate().map(|(at, line)| (line, rendered.place(at + 1).line)).collect();
    let expected = [("a", 1), ("", 2), ("b x", 3), ("y c", 3), ("", 5), ("", 6), ("1", 7), ("", 8), ("2", 7), ("z", 8)];
    assert_eq!(lines, expected);
}

#[test]
fn the_pillar_is_looked_up_by_paths() {
    for (text, expected) in [
        ("{{ salt['pillar.get']('a:b') }}", "[1, 2]"),
        ("{{ salt['pillar.get']('a:b:1') }}", "2"),
        ("{{ salt.pillar.get('a:c', 'none') }}{{ salt['pillar.get']('a:c') }}", "none"),
        ("{{ salt['pillar.get']('a.b', delimiter='.') }}", "[1, 2]"),
        ("{{ salt['pillar.get']('a', {'z': 1}, merge=True) }}", "{'z': 1, 'b': [1, 2]}"),
    ] {
        assert_eq!(render(text).map(|rendered| rendered.text), Ok(expected.into()), "{text}");
    }
}

#[test]
fn the_width_of_a_field_is_bounded() {
    for (text, expected) in [
        ("{{ '{:>4}|{{2000}}2000'.format('x') }}", Ok("   x|{2000}2000")),
        ("{{ '{:>1001}'.format('x') }}", Err("a field of `format` has at most 1000 characters.")),
        ("{{ '{:>{}}'.format('x', 1001) }}", Err("a field of `format` has at most 1000 characters.")),
        ("{{ [1]|tojson(indent=1001) }}", Err("an indent has at most 1000 spaces.")),
    ] {
        let expected = expected.map(str::to_owned).map_err(|e| format!("t:1: Jinja cannot render this: {e}"));
        assert_eq!(render(text).map(|rendered| rendered.text), expected, "{text}");
    }
}

#[test]
fn what_is_undefined_is_named() {
    for (text, expected) in [
        ("x\n{{ nosuch }}", "t:2: Jinja cannot render this: `nosuch` is undefined."),
        ("{% if pillar.x %}{% endif %}", "t:1: Jinja cannot render this: `pillar.x` is undefined."),
        ("{{ pillar.a.x.y }}", "t:1: Jinja cannot render this: `pillar.a.x` is undefined."),
        ("{{ nosuch|tojson }}", "t:1: Jinja cannot render this: something in `nosuch|tojson` is undefined."),
        (
            "{{ {'a': [pillar.x]}|json }}",
            "t:1: Jinja cannot render this: something in `{'a': [pillar.x]}|json` is undefined.",
        ),
        ("{{ nosuch|yaml_dquote }}", "t:1: Jinja cannot render this: something in `nosuch|yaml_dquote` is undefined."),
        ("{{ [nosuch]|yaml }}", "t:1: Jinja cannot render this: something in `[nosuch]|yaml` is undefined."),
        ("{{ nosuch|int(1) }}", "t:1: Jinja cannot render this: something in `nosuch|int(1)` is undefined."),
        (
            "{% set x = 1 %}\n{%- set y = pillar.a.x|json|yaml %}",
            "t:2: Jinja cannot render this: something in `set y = pillar.a.x|json` is undefined.",
        ),
        ("{{ 'x'|nosuch }}", "t:1: Jinja cannot render this: filter nosuch is unknown."),
        ("{% import 'x' as x %}", "t:1: Jinja cannot render this: tried to include non-existing template 'x'."),
    ] {
        assert_eq!(render(text).map(|rendered| rendered.text), Err(expected.into()), "{text}");
    }
}
