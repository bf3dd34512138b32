use super::*;
use crate::python::repr;

fn value(text: &str) -> Value {
    yaml::read(text).unwrap().value()
}

#[test]
fn mappings_are_merged_and_everything_else_is_replaced() {
    let (a, b) = (value("{x: {a: 1, b: [1, 2]}, y: {c: 1}, z: 1}"), value("{x: {b: [2, 3], c: ~}, y: 2, w: 1}"));
    assert_eq!(repr(&merge(&a, &b, false)), "{'x': {'a': 1, 'b': [2, 3], 'c': None}, 'y': 2, 'z': 1, 'w': 1}");
    assert_eq!(repr(&merge(&a, &b, true)), "{'x': {'a': 1, 'b': [1, 2, 3], 'c': None}, 'y': 2, 'z': 1, 'w': 1}");
}

#[test]
fn a_pillar_that_is_written_for_salt_is_read_as_it_was() {
    let pillar = value("{a: ['yes', '010', '1e3', \"x: y\", \"l\\nm\", 'é', ~, 1.0, '']}");
    let text = to_sls(&pillar);
    assert!(text.starts_with("#!yaml\n"), "{text}");
    assert_eq!(repr(&value(&text)), repr(&pillar));
}
