//! Variables of docteurklein/compose-ci (its README and `compose_ci/`) that are no settings here. They count only where
//! DIALECTS names compose-ci, because other programs have variables of these names, too.

use super::variable;
use crate::model::{Dialect, Dialects};
use crate::settings::Spec;
use crate::settings::error::SettingError;
use crate::settings::sources::SettingTexts;

const LOGIN: &str =
    "a login of a registry is a secret: store it by `image-factory secrets put dockercfg FILE`, and unset it";

/// The variables that ask for what the daemon does not do, and what to do instead.
const REFUSED: [(Spec, &str); 4] = [
    (
        variable("DOCKER_REGISTRY", false),
        "DOCKER_REPO_BASE names the registry and path of the images: set that, and unset it",
    ),
    (variable("REGISTRY_USER", false), LOGIN),
    (variable("REGISTRY_PASS", true), LOGIN),
    (
        variable("BUILD_CMD", false),
        "no other program builds a job: unset it, and set HOOK to the command that tests an image",
    ),
];

/// The variables that mean nothing any more.
const UNUSED: [(Spec, &str); 3] = [
    (variable("REGISTRY_EMAIL", false), "no registry asks for it"),
    (variable("LOG_LEVEL", false), "RUST_LOG says what is logged"),
    (variable("BASE_PATH", false), "nothing is unpacked, and DATA_DIR has all files"),
];

/// Adds the errors and warnings, if DIALECTS names compose-ci.
pub fn check(texts: &mut SettingTexts, errors: &mut Vec<SettingError>) {
    let dialects = texts.text(&variable("DIALECTS", false)).ok().flatten();
    let is_open = |found: &Dialects| found.has(Dialect::ComposeCi);
    if !dialects.is_some_and(|found| Dialects::parse(&found.text).is_ok_and(|dialects| is_open(&dialects))) {
        return;
    }
    for (spec, why) in &REFUSED {
        if let Ok(Some(found)) = texts.text(spec) {
            let (name, place) = (found.name, found.place);
            errors.push(SettingError::new([spec.name], format!("{name} ({place}) cannot be used: {why}")));
        }
    }
    for (spec, why) in &UNUSED {
        if let Ok(Some(found)) = texts.text(spec) {
            let (name, place) = (found.name, found.place);
            texts.warnings.push(format!("{name} ({place}) is not used: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::SettingsSource;

    #[test]
    fn what_compose_ci_had_elsewhere_is_refused_with_what_to_use() {
        let all = [
            ("DOCKER_REGISTRY", "registry.example.com"),
            ("REGISTRY_USER", "ann"),
            ("REGISTRY_PASS", "s3cret-value"),
            ("REGISTRY_EMAIL", "ann@example.com"),
            ("BUILD_CMD", "python3 -m compose_ci.ci"),
            ("LOG_LEVEL", "DEBUG"),
            ("BASE_PATH", "/tmp/tarball"),
            ("CI_TOKEN", "the-token-of-an-address"),
        ];
        let found = |dialects: &str| {
            let own = [("DIALECTS", dialects)];
            let environment = all.iter().chain(&own);
            let environment: Vec<_> = environment.map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let none = Some("/dev/null".into());
            let loaded = SettingsSource::new(Default::default(), none.clone(), none, environment).load();
            let errors = loaded.settings().err().map_or(Vec::new(), |errors| errors.0);
            let errors = errors.iter().map(ToString::to_string);
            errors.chain(loaded.warnings.clone()).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(found("totem"), @"CI_TOKEN (in the environment) has no effect: add compose-ci to DIALECTS, whose API alone uses it, or unset it");
        insta::assert_snapshot!(found("totem,compose-ci"), @r#"
        DOCKER_REGISTRY (in the environment) cannot be used: DOCKER_REPO_BASE names the registry and path of the images: set that, and unset it
        REGISTRY_USER (in the environment) cannot be used: a login of a registry is a secret: store it by `image-factory secrets put dockercfg FILE`, and unset it
        REGISTRY_PASS (in the environment) cannot be used: a login of a registry is a secret: store it by `image-factory secrets put dockercfg FILE`, and unset it
        BUILD_CMD (in the environment) cannot be used: no other program builds a job: unset it, and set HOOK to the command that tests an image
        REGISTRY_EMAIL (in the environment) is not used: no registry asks for it
        LOG_LEVEL (in the environment) is not used: RUST_LOG says what is logged
        BASE_PATH (in the environment) is not used: nothing is unpacked, and DATA_DIR has all files
        "#);
    }
}
