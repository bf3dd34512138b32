//! Projects made at random from what such projects write, and texts in which templates and YAML of Salt differ from others.

use std::fmt::Write;

use crate::random::Random;

/// Values of a pillar, among them texts that YAML 1.1 takes for something else.
pub const SCALARS: [&str; 61] = [
    "yes",
    "No",
    "on",
    "OFF",
    "oN",
    "~",
    "null",
    "''",
    "010",
    "-010",
    "0755",
    "0o10",
    "0x1F",
    "0b11",
    "089",
    "1_000",
    "12:30",
    "12:30:45",
    "12:75",
    "1e3",
    "1.0e+3",
    "1.",
    ".5",
    "-.5",
    "1:30.5",
    "2026-11-28",
    "2026-11-28T10:00:00Z",
    "a b",
    "\"a\\tb\"",
    "'it''s'",
    "é",
    "[1, 'x', ~]",
    "{x: 1, 'y z': [2]}",
    "|\n  one\n    two\n",
    ">\n  one\n  two\n\n  three\n",
    ".inf",
    "!!str 5",
    "!!int '7'",
    "http://x/y?a=b#c",
    "a: b",
    "=",
    "<<",
    "@x",
    "%x",
    "`x`",
    "- x",
    "!foo x",
    "*nothing",
    "&x 1",
    "[1, 2",
    "{a, b}",
    "1\nb: 2\nb: 3",
    "\t1",
    "\tb\t# c",
    "[\n\t1,\n2\n]",
    "\"b\nc\"#d",
    "b\n \tc",
    "\n\tb: 1",
    "\n  -\tb",
    "'b'\n\t\nc: 1",
    "1\n: 2",
];

pub const MACROS: &str = "{% macro m(x, y=2) %}<{{ x }}|{{ y }}>{% endmacro %}{% set v = 'vv' %}";

/// Templates of what `file.managed` renders with the variables `d`, `l`, `s` and `n`.
pub const TEMPLATES: [&str; 71] = [
    "{{ d }} {{ l }} {{ s }} {{ n }} {{ true }}",
    "{{ d|json }} {{ d|tojson }} {{ l|json }} {{ s|json }} {{ n|json }} {{ '<é>'|tojson }}",
    "{{ d|yaml }} {{ l|yaml }} {{ s|yaml }} {{ n|yaml }} {{ 'yes'|yaml }} {{ '1.5'|yaml }} {{ 'a: b'|yaml }}",
    "{{ d|yaml(False) }}\n{{ {'x': {'y': [1, {'z': 2}]}, 'e': {}, 'f': []}|yaml(False) }}",
    "{{ ['aaaa bbbb cccc dddd eeee ffff gggg hhhh', 'aaaa bbbb cccc dddd eeee ffff gggg hhhh iiii jjjj kkkk', 1]|yaml }}",
    "{{ ('word ' * 40)|yaml }}|{{ {'k': 'word ' * 40}|yaml(False) }}|{{ ('w' * 200)|yaml }}",
    "{{ {'k' * 130: 1}|yaml }} {{ {'k' * 100: 'v' * 10, 'z': 1}|yaml }}",
    "{{ ('\\t' ~ 'word ' * 40)|yaml }} {{ ['\\t' ~ 'a  b ' * 60]|yaml }}",
    "{{ 'a\\nb'|yaml }} {{ ['a\\nb']|yaml }} {{ 'tab\\there'|yaml }} {{ '# x'|yaml }} {{ '- x'|yaml }} {{ ''|yaml }}",
    "{{ '%s-%d'|format('a', 3) }} {{ 'x' ~ 1 ~ true ~ none }} {{ 'a,b'.split(',') }} {{ ' x '.strip() }} {{ 'ab'.upper() }}",
    "{% for k, v in d|dictsort %}{{ loop.index }}{{ k }}={{ v }}{{ ', ' if not loop.last }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}{{ v }}{% else %}none{% endfor %} {{ d.get('q', 'dflt') }} {{ d.keys()|list }}",
    "a\n{% if l %}\nb\n{% endif %}\n  {%- if n is none %} c {%- endif %}\nd\n",
    "{{ nosuch }}",
    "{% if nosuch %}x{% endif %}",
    "{{ nosuch|default('dflt') }} {{ d.q|default('dflt2') }} {{ n|default('x') }} {{ n|default('x', true) }}",
    "{{ d.q.r }}",
    "{{ d.q is defined }} {{ d.a is iterable }} {{ l is list }} {{ d is mapping }} {{ s is string }} {{ 3 is number }}",
    "{{ 7 / 2 }} {{ 7 // 2 }} {{ 2 ** 3 }} {{ 7 % 3 }} {{ 4 / 2 }} {{ 1.0 }} {{ 10 ** 20 }} {{ 1e20 }} {{ -7 // 2 }}",
    "{{ l|sort }} {{ l|sort(reverse=true)|first }} {{ l|join('-') }} {{ l|length }} {{ l|sum }} {{ l|max }} {{ l|min }}",
    "{{ [1, 2, 1]|unique|list }} {{ l|union([4]) }} {{ l|intersect([1, 9]) }} {{ l|difference([1]) }}",
    "{{ 'foo bar'|regex_replace('(o+)', '[\\\\1]') }} {{ 'foo'|regex_search('(o)(o)') }} {{ 'foo'|regex_match('f') }}",
    "{{ 'x y'|quote }} {{ 'xy'|quote }} {{ ''|quote }} {{ s|quote }} {{ 'yes'|to_bool }} {{ 'x'|sequence }}",
    "{{ 'x'|sha256 }} {{ 'x'|md5 }} {{ 'x'|base64_encode }} {{ 'x'|sha512 }} {{ 'x'|sha1 }}",
    "{{ 'a'|yaml_encode }} {{ 1|yaml_encode }} {{ none|yaml_encode }} {{ 'a\"b\\n'|yaml_dquote }} {{ s|yaml_squote }}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% macro m(a, b=3) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}",
    "{% from 'm.jinja' import m, v %}{{ m('a') }}{{ v }}",
    "{% import 'm.jinja' as x with context %}{{ x.m('a', y=d.b) }}",
    "{% import_yaml 'v.yml' as x %}{{ x.a }} {{ x.b }} {{ x }}",
    "{% load_yaml as x %}\na: {{ d.b }}\nb: [yes]\n{% endload %}{{ x }}",
    "{{ 'a: [1, yes]'|load_yaml }} {{ '{\"a\": [1, null]}'|load_json }}",
    "{% raw %}{{ x }}{% endraw %} {# comment #} {{ '{{' }}",
    "{{ salt['pillar.get']('a:b', 'dflt') }} {{ salt.pillar.get('a') }} {{ pillar.get('x', 1) }} {{ pillar }}",
    "{{ salt['nosuch.function']('x') }}",
    "{{ 'x'|nosuchfilter }}",
    "{{ d.b if d.b > 0 else 'x' }} {{ 'a' in d }} {{ 3 not in l }} {{ d.b == 1 and not n }}",
    "{{ s|upper }} {{ s|capitalize }} {{ 'a b'|title }} {{ 'abc'|replace('b', 'x') }} {{ ' a '|trim }} {{ 'a\\nb'|indent(2) }}",
    "{{ 'a\\nb\\n\\nc'|indent(4, true) }}|{{ 'a\\nb'|indent(width=2) }}",
    "{{ l[0] }} {{ l[-1] }} {{ l[1:] }} {{ 'abc'[::-1] }} {{ d['b'] }} {{ s[0] }}",
    "{{ '5'|int + 1 }} {{ '1.5'|float }} {{ 'x'|int }} {{ 2.7|int }} {{ 2.567|round(2) }} {{ -3|abs }}",
    "{{ 'x'|int(default=3) }} {{ 'x'|int(4) }} {{ none|int }} {{ [1]|int(7) }} {{ '1f'|int(0, 16) }} {{ '0x1F'|int(base=0) }}",
    "{{ ' -1_0 '|int }} {{ '1__0'|int }} {{ '1e3'|int }} {{ 'inf'|int }} {{ true|int }} {{ '99999999999999999999'|int }} {{ -1.9|int }}",
    "{{ 'x'|float }} {{ 'x'|float(default=2) }} {{ none|float('n') }} {{ true|float }} {{ ' 2 '|float }} {{ '1e3'|float }} {{ '0b1'|int(5, 2) }}",
    "{{ [{'n': 1, 't': 'a'}, {'n': 2, 't': 'b'}]|map(attribute='n')|list }} {{ l|map('string')|join(',') }}",
    "{{ [{'n': 1}, {'n': 2}]|selectattr('n', 'equalto', 2)|list }} {{ l|select('odd')|list }} {{ l|reject('odd')|list }}",
    "{{ range(3)|list }} {{ range(1, 7, 2)|list }} {{ l|batch(2)|list }} {{ l|reverse|list }} {{ l|last }}",
    "{{ {'b': 2, 'a': 1}|dictsort }} {{ {'b': 1}.items()|list }} {{ dict(a=1) }}",
    "{{ (1, 'a') }} {{ (1,) }} {{ [] }} {{ {} }} {{ [none, [true]] }} {{ {'x': 'a\\nb'} }} {{ 'a\\nb' }}",
    "{{ \"it's\" }} {{ [\"it's\", 'a\"b', '\\\\'] }} {{ ['é', '\\t'] }}",
    "{% if 'a' is match('a|b') %}m{% endif %} {{ 'x'|regex_escape }} {{ 'a.b'|regex_escape }}",
    "{% filter upper %}abc{% endfilter %} {% with x = 3 %}{{ x }}{% endwith %} {% set y %}blk{{ d.b }}{% endset %}{{ y }}",
    "{% call(x) m2() %}{{ x }}{% endcall %}",
    "{% macro m2() %}[{{ caller(1) }}]{% endmacro %}{% call(x) m2() %}{{ x }}{% endcall %}",
    "{% for i in l recursive %}{{ i }}{% endfor %} {% for i in l if i > 1 %}{{ i }}{% endfor %}",
    "{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% if i == 2 %}{% break %}{% endif %}{% endfor %}",
    "{% include 'v.yml' %}",
    "{% include 'nosuch' ignore missing %}ok",
    "{% include 'nosuch' %}",
    "{{ 1 + 'a' }}",
    "{% if %}",
    "{{ name }} {{ source }} {{ user }} {{ mode }}",
    "{{ opts.test }} {{ saltenv }} {{ grains.kernel }}",
    "{{ d.a|join('+') }} {{ d.a }} {{ d.values()|list }} {{ d|length }} {{ d|list }}",
    "{{ d|dictsort|map('first')|join }} {{ d.a|first }} {{ d.a[1] }} {{ d.a.0 }}",
    "{{ {'a': 1, 'b': {'c': 2}}|json(indent=2) }} {{ {'b': 1, 'a': 2}|json(sort_keys=False) }}",
    "{{ 'a'.format() }} {{ '{}-{}'.format(1, 'b') }} {{ 'a-b'.replace('-', '_') }} {{ 'abc'.startswith('a') }}",
    "{{ pillar.o }} {{ pillar.o|yaml }} {{ pillar.o|json }} {{ pillar|yaml(False) }} {{ pillar.o.items()|list }}",
    "text without a line feed at its end",
    "text with two\n\n",
];

impl Random {
    /// A value in one line of YAML.
    fn value(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 4 } else { 7 }) {
            0..=3 => SCALARS[self.below(33)].to_owned(),
            4 => format!("[{}]", (0..self.below(4)).map(|_| self.value(depth - 1)).collect::<Vec<_>>().join(", ")),
            _ => self.map(depth),
        }
    }

    fn map(&mut self, depth: usize) -> String {
        let mut keys = ["a", "b", "c", "d"].to_vec();
        let mut pairs = Vec::new();
        for _ in 0..self.below(4) {
            let key = keys.remove(self.below(keys.len()));
            pairs.push(format!("{key}: {}", self.value(depth.saturating_sub(1))));
        }
        format!("{{{}}}", pairs.join(", "))
    }

    /// A file of a pillar with some of the keys that other files have, too.
    fn pillar(&mut self) -> String {
        let mut text = format!("text: {}\n", self.of(&["one", "|\n  two\n  three", "[four, 5]"]));
        if self.one_in(3) {
            text += "{% set host = 'h' ~ 3 %}\n";
        }
        for key in ["x", "y", "z", "l"] {
            if self.one_in(2) {
                let value = if key == "l" { format!("[{}, 1, 2]", self.below(3)) } else { self.map(3) };
                let _ = writeln!(text, "{key}: {value}");
            }
        }
        text
    }
}

/// Returns the files of a project, and true if its lists are merged.
pub fn project(seed: u64) -> (Vec<(&'static str, String)>, bool) {
    let mut random = Random(seed);
    let mut files = Vec::new();
    let lists = random.one_in(4);
    if random.one_in(2) {
        files.push(("project/.salt/PILLAR.sample", random.pillar()));
    }
    let mut init = random.pillar();
    if random.one_in(3) {
        files.push(("pillar/more.sls", random.pillar()));
        files.push(("pillar/deep/init.sls", "include:\n  - .one\nx: {c: deep}\n".into()));
        files.push(("pillar/deep/one.sls", random.pillar()));
        init = format!("include:\n  - {}\n  - deep\n{init}", random.of(&["more", "more: {key: 'm:n'}"]));
    }
    if random.one_in(20) {
        init += random.of(&["x y\n", "w: {{ nosuch }}\n", "w: 1\nw: 2\n", "- x\n"]);
    }
    files.push(("pillar/init.sls", init));
    files.push((
        "project/.salt/files/t",
        "{{ pillar|json }}\n{{ c }} {{ name }}\n{% for i in range(3) %}\n{{ i }}\n{%- endfor %}\n".into(),
    ));
    let (mut first, mut second) = (String::new(), String::new());
    let count = 3 + random.below(9);
    let mut ids: Vec<(String, &str)> = Vec::new();
    for number in 0..count {
        let id = format!("s{number}");
        let (kind, body) = state(&mut random, number);
        let mut text = format!("{id}:\n  {body}");
        if !ids.is_empty() && random.one_in(2) {
            let (other, module) = ids[random.below(ids.len())].clone();
            let requisite = random.of(&[
                "require",
                "require",
                "watch",
                "onchanges",
                "onfail",
                "require_in",
                "watch_in",
                "onchanges_in",
            ]);
            let _ = writeln!(text, "    - {requisite}:\n      - {module}: {other}");
        }
        if random.one_in(7) {
            let order = random.of(&["1", "last", "first", "-1", "5"]);
            let _ = writeln!(text, "    - order: {order}");
        }
        if random.one_in(8) {
            let _ = writeln!(text, "    - {}: {}", random.of(&["unless", "onlyif"]), random.of(&["'true'", "'false'"]));
        }
        ids.push((id, kind));
        if random.one_in(3) { second += &text } else { first += &text }
    }
    if random.one_in(25) {
        second += random.of(&[
            "bad:\n  file.managed:\n    - require:\n      - file: nosuch\n",
            "bad: [x]\n",
            "s0:\n  cmd.run: []\n",
        ]);
    }
    if random.one_in(4) {
        first = format!("include:\n  - extra\n{first}");
        files.push((
            "project/.salt/extra.sls",
            "extra:\n  file.managed:\n    - name: @BASE@/extra\n    - makedirs: True\n".into(),
        ));
    }
    files.push(("project/.salt/100_first.sls", first));
    files.push(("project/.salt/200_second.sls", second));
    (files, lists)
}

/// Returns the module of a state, and its function and options.
fn state(random: &mut Random, number: usize) -> (&'static str, String) {
    let path = format!("@BASE@/{}/{number}", random.of(&["a", "b", "a/c"]));
    let owner =
        random.of(&["", "    - user: nobody\n", "    - group: nogroup\n", "    - user: 1000\n    - group: 1000\n"]);
    let mode = random.of(&["", "    - mode: 640\n", "    - mode: '0600'\n", "    - mode: 0755\n"]);
    let makedirs = random.of(&["    - makedirs: True\n", "    - makedirs: True\n", "    - makedirs: True\n", ""]);
    match random.below(10) {
        0..=2 => {
            let context = random.of(&[
                "    - context: {c: 1}\n",
                "    - defaults: {c: x}\n    - context:\n        c: [1, yes]\n",
                "",
            ]);
            let template = random.of(&["    - template: jinja\n", "    - template: jinja\n", ""]);
            let source = "    - source: salt://files/t\n";
            ("file", format!("file.managed:\n    - name: {path}\n{source}{template}{context}{owner}{mode}{makedirs}"))
        }
        3 | 4 => {
            let contents = random.of(&[
                "    - contents: |\n        one\n          two\n",
                "    - contents: [one, 2, yes]\n",
                "    - contents: x\n    - contents_newline: False\n",
                "    - contents_pillar: text\n",
                "    - contents: ''\n    - allow_empty: False\n",
                "    - contents: '{{ \"{{ pillar }}\" }}'\n    - template: jinja\n",
                "",
            ]);
            let replace = random.of(&["", "", "    - replace: False\n", "    - create: False\n"]);
            ("file", format!("file.managed:\n    - name: {path}\n{contents}{owner}{mode}{makedirs}{replace}"))
        }
        5 => {
            let recurse = random.of(&[
                "",
                "    - recurse: [mode]\n",
                "    - file_mode: 604\n    - dir_mode: 705\n    - recurse: [mode, ignore_files]\n",
            ]);
            let folder = random.of(&["@BASE@/a", "@BASE@/n"]);
            (
                "file",
                format!("file.directory:\n    - name: {folder}{number}\n{owner}{mode}{makedirs}{recurse}")
                    .replace(&format!("/a{number}"), "/a"),
            )
        }
        6 => {
            let target = random.of(&["x", "../a", "/etc/hosts"]);
            ("file", format!("file.symlink:\n    - name: {path}\n    - target: {target}\n{makedirs}"))
        }
        7 => {
            let text = random.of(&["one", "[one, 'two  three']", "|\n        four\n        five\n"]);
            let name = random.of(&["@BASE@/ap", "@BASE@/a/ap"]);
            ("file", format!("file.append:\n    - name: {name}\n    - text: {text}\n{makedirs}"))
        }
        8 => {
            let names =
                format!("    - names:\n      - @BASE@/n/{number}\n      - @BASE@/m/{number}:\n        - mode: 600\n");
            ("file", format!("file.managed:\n{names}    - contents: n\n{makedirs}{mode}"))
        }
        _ => {
            let function = random.of(&["run", "run", "wait"]);
            let command = random.of(&[
                "mkdir -p @BASE@ && echo $A >> @BASE@/log",
                "pwd >> @BASE@/pwd",
                "exit 3",
                "test -e @BASE@/a",
                "id -un",
            ]);
            let options =
                random.of(&["", "    - env:\n      - A: b\n", "    - cwd: /tmp\n", "    - creates: @BASE@/log\n"]);
            ("cmd", format!("cmd.{function}:\n    - name: {command}\n{options}"))
        }
    }
}
