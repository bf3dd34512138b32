//! One state: a function, what it is given, and what it waits for.

use minijinja::Value;

use crate::yaml::{Content, Node};
use crate::{Place, Problem, python};

/// A state as Salt's compiler has it: one function for one name.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Key under which the state stands in its file.
    pub id: String,
    /// Name of the file of states, such as `nginx.site`.
    pub sls: String,
    /// Module of the function, such as `file`.
    pub module: String,
    pub function: String,
    /// What the state is about: a path, a command or a user.
    pub name: String,
    /// Line of the function.
    pub place: Place,
    pub args: Vec<(String, Node)>,
    pub order: Order,
    /// Number in `names`, from 1, and 0 without that list.
    pub name_order: usize,
    pub requisites: Vec<(Requisite, Target)>,
}

/// The place of a state among the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    Number(f64),
    First,
    Last,
}

/// The reason why a state waits for another one, in the order in which Salt looks at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requisite {
    Onfail,
    Require,
    Onchanges,
    Watch,
}

impl Requisite {
    /// Returns the requisite of an option such as `require` or `require_in`, and true for the latter.
    pub fn of(option: &str) -> Option<(Self, bool)> {
        let (name, is_in) = option.strip_suffix("_in").map_or((option, false), |name| (name, true));
        let requisite = match name {
            "onfail" => Self::Onfail,
            "require" => Self::Require,
            "onchanges" => Self::Onchanges,
            "watch" => Self::Watch,
            _ => return None,
        };
        Some((requisite, is_in))
    }
}

/// The states that a requisite names: `- file: /etc/x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Module of the states, `sls` for a file, or `id` for any module.
    pub module: String,
    /// Id, name or file, in which `*` and `?` stand for others.
    pub name: String,
}

impl Chunk {
    /// Returns `file.managed` for messages.
    pub fn what(&self) -> String {
        format!("{}.{}", self.module, self.function)
    }

    /// Returns a problem with this state.
    pub fn problem(&self, text: impl Into<String>) -> Problem {
        self.place.problem(text)
    }

    pub fn arg(&self, key: &str) -> Option<&Node> {
        self.args.iter().rev().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Returns the value of an option, which is missing if it is null.
    pub fn value(&self, key: &str) -> Option<Value> {
        self.arg(key).map(Node::ordered).filter(|value| !value.is_none())
    }

    /// Returns a problem with the value of an option.
    fn wrong(&self, key: &str, expected: &str) -> Problem {
        let line = self.arg(key).map_or(self.place.line, |node| node.line);
        Place::new(&self.place.file, line).problem(format!("`{key}` is wrong. Write {expected}."))
    }

    /// Returns an option that is a text or a number.
    ///
    /// # Errors
    /// The value is a list or a mapping.
    pub fn text(&self, key: &str) -> Result<Option<String>, Problem> {
        match self.arg(key).map(|node| &node.content) {
            None => Ok(None),
            Some(Content::Scalar(value)) if value.is_none() => Ok(None),
            Some(Content::Scalar(value)) => Ok(Some(python::text(value))),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// Returns an option that is true or false.
    ///
    /// # Errors
    /// The value is neither.
    pub fn boolean(&self, key: &str, default: bool) -> Result<bool, Problem> {
        let value = self.value(key);
        match value.as_ref().map(|value| bool::try_from(value.clone())) {
            None => Ok(default),
            Some(value) => value.map_err(|_| self.wrong(key, "True or False")),
        }
    }

    /// Returns an option that is the number of a user or of a group. The largest one stands for none (chown(2)).
    ///
    /// # Errors
    /// The value is something else.
    pub fn account_number(&self, key: &str) -> Result<Option<u32>, Problem> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number < u32::MAX);
        number.map(Some).ok_or_else(|| self.wrong(key, &format!("a number below {}", u32::MAX)))
    }

    /// Returns the rights of an option such as `mode: 640`, whose digits are octal in any case.
    ///
    /// # Errors
    /// The value has other digits, or too many.
    pub fn mode(&self, key: &str) -> Result<Option<u32>, Problem> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let digits = text.trim_start_matches(['0', 'o', 'O']);
        let number = if digits.is_empty() { Ok(0) } else { u32::from_str_radix(digits, 8) };
        let number = number.ok().filter(|number| *number <= 0o7777);
        number.map(Some).ok_or_else(|| self.wrong(key, "octal digits such as '0640'"))
    }

    /// Returns an option that is a text or a list of texts.
    ///
    /// # Errors
    /// The value is a mapping, or has one.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, Problem> {
        match self.arg(key).map(|node| &node.content) {
            Some(Content::List(list)) => list
                .iter()
                .map(|item| match &item.content {
                    Content::Scalar(value) => Ok(python::text(value)),
                    _ => Err(self.wrong(key, "a text, or a list of texts")),
                })
                .collect(),
            _ => Ok(self.text(key)?.into_iter().collect()),
        }
    }
}
