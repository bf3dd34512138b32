//! Values with their lines.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object};

/// A value of a document.
#[derive(Debug, Clone)]
pub struct Node {
    /// Number of the line on which the value begins, from 1.
    pub line: usize,
    pub content: Content,
}

/// Python's `OrderedDict`, which Salt makes of what pillars and states have. The filter `yaml` keeps its order, and sorts others.
#[derive(Debug)]
pub struct Ordered(Vec<(Value, Value)>);

/// Returns a mapping that keeps its order.
pub fn ordered(pairs: Vec<(Value, Value)>) -> Value {
    Value::from_object(Ordered(pairs))
}

impl Object for Ordered {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(key, _)| key.clone()).collect())
    }
}

#[derive(Debug, Clone)]
pub enum Content {
    Scalar(Value),
    List(Vec<Node>),
    /// The pairs in the order of the document. The keys are scalars, and no two are equal.
    Map(Vec<(Node, Node)>),
}

impl Node {
    pub fn scalar(line: usize, value: Value) -> Self {
        Self { line, content: Content::Scalar(value) }
    }

    /// Returns the number of values in it.
    pub fn size(&self) -> usize {
        1 + match &self.content {
            Content::Scalar(_) => 0,
            Content::List(list) => list.iter().map(Self::size).sum(),
            Content::Map(pairs) => pairs.iter().map(|(_, value)| 1 + value.size()).sum(),
        }
    }

    /// Returns the value without its lines.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(list) => list.iter().map(Self::value).collect(),
            Content::Map(pairs) => Value::from_pairs(pairs.iter().map(|(key, value)| (key.value(), value.value()))),
        }
    }

    /// Returns the value with mappings that filters do not sort.
    pub fn ordered(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(list) => list.iter().map(Self::ordered).collect(),
            Content::Map(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| (key.value(), value.ordered()));
                ordered(pairs.collect())
            }
        }
    }

    /// Returns the text of a scalar that is a text.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// Returns the items of a list.
    pub fn list(&self) -> Option<&[Node]> {
        match &self.content {
            Content::List(list) => Some(list),
            _ => None,
        }
    }

    /// Returns the pairs of a mapping.
    pub fn pairs(&self) -> Option<&[(Node, Node)]> {
        match &self.content {
            Content::Map(pairs) => Some(pairs),
            _ => None,
        }
    }
}
