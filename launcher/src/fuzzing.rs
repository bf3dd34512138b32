//! Entries for the targets in `fuzz/`: pillars and states, which a volume or an image brings.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::Value;

use crate::jinja::{Rendered, Renderer};
use crate::roots::Roots;
use crate::{json, pillar, python, sls, states, yaml};

fn renderer() -> Renderer {
    let pillar = Value::from_pairs([("a", Value::from(1)), ("b", vec!["x", "y"].into())]);
    Renderer::new(pillar.clone(), pillar.clone(), pillar, Roots::new([]))
}

pub fn pillar(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(rendered) = renderer().render(Path::new("init.sls"), text, &BTreeMap::new()) else { return };
    let Ok(node) = sls::mapping(&rendered, "pillar") else { return };
    let value = node.ordered();
    let merged = pillar::merge(&value, &value, true);
    let _ =
        (python::repr(&merged), json::dump(&merged, json::Style::default()), yaml::dump(&merged, yaml::Flow::Inline));
    // What is written for Salt is what was read.
    let again = yaml::read(&yaml::dump(&value, yaml::Flow::Block));
    assert_eq!(again.map(|node| python::repr(&node.value())), Ok(python::repr(&value)));
}

pub fn sls(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let rendered = Rendered::verbatim(Path::new("fuzz.sls"), text.to_owned());
    let _ = sls::mapping(&rendered, "file of states").and_then(|node| states::check(&renderer(), &node));
}
