//! Variables in values: `$(circus.env.HOME)`, `((circus.wid))`, and `$HOME` in the environment.

/// Replaces each `$(circus.NAME)` and `((circus.NAME))` that `lookup` knows, in lower case and without `circus.`. Others
/// stay as they are.
pub fn variables(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(['$', '(']) {
        let (before, from) = rest.split_at(start);
        result += before;
        let close = if from.starts_with("((") { "))" } else { ")" };
        let replaced = from.strip_prefix("$(").or(from.strip_prefix("((")).and_then(|inner| {
            let (name, after) = inner.split_once(close)?;
            let is_name = name.chars().all(|c| c.is_alphanumeric() || "_.-".contains(c));
            let value = lookup(name.to_lowercase().strip_prefix("circus.").filter(|_| is_name)?)?;
            Some((value, after))
        });
        match replaced {
            Some((value, after)) => {
                result += &value;
                rest = after;
            }
            None => {
                result += &from[..1];
                rest = &from[1..];
            }
        }
    }
    result + rest
}

/// Replaces each `$NAME` of capital letters, digits and underscores by the launcher's own variable.
///
/// # Errors
/// The name of a variable that is missing.
pub fn environment(text: &str, own: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result += before;
        let end = after.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let (name, behind) = after.split_at(end.unwrap_or(after.len()));
        if name.starts_with(|c: char| c.is_ascii_uppercase()) {
            result += &own(name).ok_or(name)?;
        } else {
            result += "$";
            result += name;
        }
        rest = behind;
    }
    Ok(result + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_variables_are_replaced() {
        let lookup = |name: &str| ["wid", "env.home"].contains(&name).then(|| format!("<{name}>"));
        for (text, expected) in [
            ("--id $(circus.wid) ((circus.WID))", "--id <wid> <wid>"),
            ("$(circus.env.HOME)/x", "<env.home>/x"),
            ("$(circus.other) $(wid) $HOME ~ ((", "$(circus.other) $(wid) $HOME ~ (("),
            ("((circus.wid)", "((circus.wid)"),
        ] {
            assert_eq!(variables(text, lookup), expected);
        }
    }

    #[test]
    fn the_environment_has_shell_like_variables() {
        let own = |name: &str| (name == "HOME").then(|| "/root".into());
        assert_eq!(environment("$HOME/bin:$home:$1:$", own), Ok("/root/bin:$home:$1:$".into()));
        assert_eq!(environment("$NONE", own), Err("NONE".into()));
    }
}
