use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::{Spec, TABLE};

/// Values of the flags. Every setting that is not secret has a flag.
#[derive(Debug, Clone, Default)]
pub struct Flags(pub BTreeMap<&'static str, String>);

impl Args for Flags {
    fn augment_args(cmd: Command) -> Command {
        let flags = TABLE.iter().filter(|spec| !spec.secret).map(|spec| {
            let arg = Arg::new(spec.name).long(spec.flag()).value_name(spec.name);
            let default = if spec.default.is_empty() { String::new() } else { format!(" [{}]", spec.default) };
            arg.help(format!("{}{default}", spec.meaning.trim()))
        });
        cmd.args(flags)
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |spec: &Spec| Some((spec.name, matches.get_one::<String>(spec.name)?.clone()));
        Ok(Self(TABLE.iter().filter(|spec| !spec.secret).filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
