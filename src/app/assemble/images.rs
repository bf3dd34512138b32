use super::git::repo_case;
use crate::model::Destinations;
use crate::settings::Settings;

/// Returns the settings that decide where images go.
pub fn destinations(settings: &Settings) -> Destinations {
    Destinations {
        base: settings.docker_repo_base.clone(),
        name: settings.image_name.clone(),
        dockerfile: settings.dockerfile.clone(),
        context: settings.context.clone(),
        grants: settings.images_allowed.clone(),
        repo_case: repo_case(settings),
    }
}
