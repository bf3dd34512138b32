//! Settings that have no effect, because DIALECTS does not name the API that uses them.

use super::{Settings, Spec, TABLE};
use crate::model::Dialect;

/// Returns the one API that uses a setting; `None` for a setting that counts in any case.
fn only_user(spec: &Spec) -> Option<Dialect> {
    match spec.name {
        "BASIC_AUTH" | "CONVEYOR_OPEN_LOGS" => Some(Dialect::Conveyor),
        _ if spec.group.contains("Conveyor's API") => Some(Dialect::Conveyor),
        _ if spec.group.contains("compose-ci's API") => Some(Dialect::ComposeCi),
        _ => None,
    }
}

/// Returns a warning for each such setting that is set, by its name and place.
pub fn warnings<'a>(settings: &Settings, place: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let idle = TABLE.iter().filter_map(|spec| {
        let user = only_user(spec).filter(|user| !settings.dialects.has(*user))?;
        let (name, place, user) = (spec.name, place(spec.name)?, user.as_str());
        Some(format!("{name} ({place}) has no effect: add {user} to DIALECTS, whose API alone uses it, or unset it"))
    });
    idle.collect()
}

#[cfg(test)]
mod tests {
    use crate::settings::SettingsSource;

    #[test]
    fn a_setting_of_an_api_that_is_closed_is_told() {
        let warnings = |dialects: &str| {
            let own = [
                ("DIALECTS", dialects),
                ("BASIC_AUTH", "conveyor:secret-0123456789"),
                ("DRY", "1"),
                ("HOOK", "make test"),
                ("CI_TOKEN", "0123456789abcdef"),
            ];
            let environment = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let none = Some("/dev/null".into());
            SettingsSource::new(Default::default(), none.clone(), none, environment).load().warnings.join("\n")
        };
        insta::assert_snapshot!(warnings("totem"), @r"
        DRY (in the environment) has no effect: add conveyor to DIALECTS, whose API alone uses it, or unset it
        CI_TOKEN (in the environment) has no effect: add compose-ci to DIALECTS, whose API alone uses it, or unset it
        HOOK (in the environment) has no effect: add compose-ci to DIALECTS, whose API alone uses it, or unset it
        BASIC_AUTH (in the environment) has no effect: add conveyor to DIALECTS, whose API alone uses it, or unset it
        ");
        assert_eq!(warnings("conveyor,compose-ci"), "");
    }
}
