//! `salt['pillar.get']('a:b')`, `salt.pillar.get('a:b')` and the few other functions that templates may call. None has an
//! effect outside of the template.

use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ValueKind, from_args};
use minijinja::{Error, State, Value};

use super::filters::invalid;
use crate::json::{self, Style};
use crate::{pillar, yaml};

/// What the functions look things up in.
#[derive(Debug)]
pub struct Facts {
    pub pillar: Value,
    pub grains: Value,
    pub opts: Value,
}

/// The variable `salt`, or one of its modules.
#[derive(Debug)]
pub struct Functions {
    pub facts: Arc<Facts>,
    /// `pillar.` in `salt.pillar`, nothing in `salt`.
    pub prefix: String,
}

impl Object for Functions {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = format!("{}{}", self.prefix, key.as_str()?);
        let facts = Arc::clone(&self.facts);
        Some(if name.contains('.') {
            Value::from_object(SaltFunction { name, facts })
        } else {
            Value::from_object(Functions { prefix: name + ".", facts })
        })
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, name: &str, args: &[Value]) -> Result<Value, Error> {
        self.get_value(&name.into()).unwrap_or_default().call(state, args)
    }
}

#[derive(Debug)]
struct SaltFunction {
    name: String,
    facts: Arc<Facts>,
}

impl Object for SaltFunction {
    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let Facts { pillar, grains, opts } = &*self.facts;
        let path = || -> Result<std::path::PathBuf, Error> {
            let (path,): (&str,) = from_args(args)?;
            Ok(path.into())
        };
        Ok(match self.name.as_str() {
            "pillar.get" | "pillar.raw" => look_up(&[pillar], args)?,
            "pillar.items" => pillar.clone(),
            "grains.get" => look_up(&[grains], args)?,
            "grains.items" => grains.clone(),
            "config.get" | "mc_utils.get" => look_up(&[opts, grains, pillar], args)?,
            "config.option" => look_up(&[opts, pillar], args)?,
            "environ.get" => {
                let (name, default): (&str, Option<&str>) = from_args(args)?;
                std::env::var(name).unwrap_or_else(|_| default.unwrap_or_default().into()).into()
            }
            "file.file_exists" => path()?.is_file().into(),
            "file.directory_exists" => path()?.is_dir().into(),
            "mc_project.get_configuration" => opts.get_attr("ms_project")?,
            "mc_utils.json_dump" => {
                let (value,): (Value,) = from_args(args)?;
                json::dump(&value, Style { sort_keys: false, indent: None, ascii: true }).into()
            }
            name => {
                let text = format!("salt['{name}'] is not carried out here; put its result into the pillar");
                return Err(invalid(text));
            }
        })
    }
}

/// Looks a key such as `a:b` up in each of the mappings. The second argument is the value if there is none.
fn look_up(among: &[&Value], args: &[Value]) -> Result<Value, Error> {
    let (key, default, options): (&str, Option<Value>, Kwargs) = from_args(args)?;
    let default = options.get::<Option<Value>>("default")?.or(default).unwrap_or_else(|| "".into());
    let delimiter = options.get::<Option<&str>>("delimiter")?.unwrap_or(":");
    let is_merged = options.get::<Option<bool>>("merge")?.unwrap_or_default();
    options.assert_all_used()?;
    let found = among.iter().find_map(|map| find(map, key, delimiter));
    Ok(match found {
        Some(value) if is_merged && value.kind() == ValueKind::Map && default.kind() == ValueKind::Map => {
            pillar::merge(&default, &value, false)
        }
        Some(value) => value,
        None => default,
    })
}

/// Returns the value of a path of keys (`traverse_dict_and_list` of salt/utils/data.py).
pub fn find(map: &Value, key: &str, delimiter: &str) -> Option<Value> {
    let item = |value: &Value, key: &Value| value.get_item(key).ok().filter(|found| !found.is_undefined());
    key.split(delimiter).try_fold(map.clone(), |value, key| {
        let (text, loaded) = (Value::from(key), yaml::resolve_plain(key).unwrap_or_default());
        match value.kind() {
            ValueKind::Map => item(&value, &text).or_else(|| item(&value, &loaded)),
            ValueKind::Seq => {
                let is_map = |embedded: &Value| embedded.kind() == ValueKind::Map;
                let mut embedded = value.try_iter().ok()?.filter(is_map);
                let found = embedded.find_map(|embedded| item(&embedded, &loaded).or_else(|| item(&embedded, &text)));
                found.or_else(|| item(&value, &Value::from(loaded.as_i64()?)))
            }
            _ => None,
        }
    })
}
