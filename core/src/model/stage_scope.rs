//! The variables that are known at each place of a Dockerfile: those of `ARG` and `ENV`, by the rules of stages
//! (<https://docs.docker.com/reference/dockerfile/#scope>). What a base image sets, and the builder's own, are not known.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::dockerfile::Instruction;
use super::expansion::{Variables, expand, split_words};

/// Number of named stages whose variables are remembered for the stages that are built on them.
const MAX_STAGES: usize = 1000;

/// The variables that are known at a place of the Dockerfile.
pub(super) struct StageScope {
    /// Character that takes the meaning from the next one.
    escape: char,
    /// `ARG`s before the first `FROM`.
    global: Variables,
    /// `ARG`s of this stage.
    args: Variables,
    env: Rc<Variables>,
    /// Name of this stage, in lower case; `None` before the first one.
    stage: Option<String>,
    /// `ENV`s of the stages before it.
    stages: HashMap<String, Rc<Variables>>,
}

impl StageScope {
    pub fn new(escape: char) -> Self {
        let (global, args, env) = (Variables::default(), Variables::default(), Rc::default());
        Self { escape, global, args, env, stage: None, stages: HashMap::new() }
    }

    pub fn get(&self, name: &str) -> Option<String> {
        self.env
            .get(name)
            .or_else(|| if self.stage.is_some() { self.args.get(name) } else { self.global.get(name) })
            .cloned()
    }

    /// Takes the variables of `FROM`, `ARG` or `ENV`, whose words are `text`. Other keywords change nothing.
    pub fn read(
        &mut self,
        keyword: &str,
        text: &str,
        instruction: &Instruction,
        build_args: &BTreeMap<String, String>,
    ) {
        let escape = self.escape;
        match keyword {
            "FROM" => self.begin_stage(instruction.base_image(), instruction.stage()),
            "ARG" => {
                for word in split_words(text, escape) {
                    let (name, default) = match word.split_once('=') {
                        Some((name, default)) => (name, expand(default, escape, &|name| self.get(name))),
                        None => (&*word, self.global.get(&word).cloned()),
                    };
                    self.set_arg(name, build_args.get(name).cloned().or(default));
                }
            }
            "ENV" => {
                let words = split_words(text, escape);
                // `ENV name the value` is the older form.
                let older = || text.split_once(' ').map(|(name, value)| format!("{name}={}", value.trim()));
                let is_older = words.first().is_some_and(|word| !word.contains('='));
                let words = if is_older { older().into_iter().collect() } else { words };
                // All values of one instruction see the variables as they were before it.
                let pairs = words.iter().filter_map(|word| word.split_once('='));
                let pairs: Vec<_> =
                    pairs.map(|(name, value)| (name, expand(value, escape, &|name| self.get(name)))).collect();
                for (name, value) in pairs {
                    Rc::make_mut(&mut self.env).set(name, value);
                }
            }
            _ => {}
        }
    }

    fn set_arg(&mut self, name: &str, value: Option<String>) {
        if self.stage.is_some() { &mut self.args } else { &mut self.global }.set(name, value);
    }

    fn begin_stage(&mut self, base: Option<&str>, name: Option<&str>) {
        if let Some(stage) = self.stage.take().filter(|stage| !stage.is_empty() && self.stages.len() < MAX_STAGES) {
            self.stages.insert(stage, self.env.clone());
        }
        let base = base.and_then(|base| expand(base, self.escape, &|name| self.global.get(name).cloned()));
        self.env = base.and_then(|base| self.stages.get(&base.to_lowercase()).cloned()).unwrap_or_default();
        self.args = Variables::default();
        self.stage = Some(name.unwrap_or_default().to_lowercase());
    }
}
