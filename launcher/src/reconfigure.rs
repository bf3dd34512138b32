//! The configuration of an image without Salt: the pillar, and the project's own states.

use std::collections::BTreeMap;

use minijinja::Value;

use crate::jinja::Renderer;
use crate::launch::Steps;
use crate::layout::Layout;
use crate::signals::Signals;
use crate::states::{self, DryRun, Programs, Summary};
use crate::{Problem, grains, pillar};

/// Renders the pillar, carries the states out, and lists on standard error what was done.
///
/// # Errors
/// A file does not render, or a state is not carried out here. Nothing was changed then.
pub fn run(
    layout: &Layout,
    steps: &Steps,
    own: &BTreeMap<String, String>,
    signals: &Signals,
) -> Result<Summary, Problem> {
    let grains = grains::gather(&layout.root);
    let values = pillar::compile(layout, &grains, &options(&grains, steps, None), steps.merge_lists)?;
    let project = pillar::project(layout, &values);
    let opts = options(&grains, steps, Some(project));
    let renderer = Renderer::new(values, grains, opts, layout.roots());
    let programs = Programs { root: &layout.root, own, signals, dry_run: steps.test.then(DryRun::default) };
    let mut say = |line: &str| eprintln!("launcher | {line}");
    pillar::foreign_keys(layout, renderer.pillar()).iter().for_each(|warning| say(warning));
    pillar::hidden_values(layout, renderer.pillar()).iter().for_each(|warning| say(warning));
    let summary = states::apply(layout, &renderer, &programs, &mut say)?;
    let Summary { changed, unchanged, failed, .. } = summary;
    let done = if steps.test { "would change" } else { "changed" };
    say(&format!("{} {done}, {unchanged} unchanged, {failed} failed", states::count(changed)));
    Ok(summary)
}

/// Returns the image's pillar, and above it the values of the volume's.
///
/// # Errors
/// A file does not render.
pub fn merged_pillar(layout: &Layout, lists: bool) -> Result<Value, Problem> {
    let grains = grains::gather(&layout.root);
    let opts = options(&grains, &Steps::default(), None);
    let (image, volume) = (layout.image_pillar(), layout.configured_pillar());
    // Whoever made the image knows its pillar by the name that it had there.
    let image = pillar::compile_file(&image, &layout.pillar(), &grains, &opts)?;
    let volume = pillar::compile_file(&volume, &volume, &grains, &opts)?;
    Ok(pillar::merge(&image, &volume, lists))
}

/// Returns `opts`, in which templates look for the project and for few other things.
fn options(grains: &Value, steps: &Steps, project: Option<Value>) -> Value {
    let id = grains.get_attr("id").unwrap_or_default();
    let mut pairs = vec![
        ("id", id),
        ("file_client", "local".into()),
        ("saltenv", "base".into()),
        ("test", steps.test.into()),
        ("pillar_merge_lists", steps.merge_lists.into()),
    ];
    pairs.extend(project.map(|project| ("ms_project", project)));
    Value::from_pairs(pairs)
}
