//! Counts what images take in engines that count otherwise than Docker with its own image store.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;

use super::instance::EngineImage;

/// The used part of an entry of `GET /images/{name}/history`, which has the newest entry first.
#[derive(Debug, Hash, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImageLayer {
    created: i64,
    created_by: String,
    /// Bytes of the unpacked layer.
    size: u64,
}

/// Returns the bytes of these images where each layer counts once. A layer that images of others have too counts as
/// theirs and as these images'.
///
/// With containerd's store the size of an image is that of its packed and its unpacked layers, and its shared size that
/// of unpacked ones alone, so that neither can be taken from the other. Only a history has the sizes of single layers:
/// two images have those layers in common up to which their histories are the same.
pub(super) fn count_layers(images: &[&EngineImage], histories: &HashMap<String, Vec<ImageLayer>>) -> u64 {
    let mut layers = HashMap::new();
    let (mut sizes, mut unpacked) = (0, 0);
    for image in images {
        sizes += u128::from(image.size.max(0) as u64);
        let mut below = DefaultHasher::new();
        for layer in histories.get(&image.id).into_iter().flatten().rev() {
            layer.hash(&mut below);
            unpacked += u128::from(layer.size);
            layers.insert(below.finish(), layer.size);
        }
    }
    let once: u64 = layers.into_values().sum();
    // The packed layers are in proportion to the unpacked ones.
    let share = (sizes * u128::from(once)).checked_div(unpacked).unwrap_or(sizes);
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Gives the images of Podman's list their sizes, which it reports in `/system/df` alone, where an image is named only by
/// its id without `sha256:`.
pub(super) fn with_sizes(listed: Vec<EngineImage>, sizes: Vec<EngineImage>) -> Vec<EngineImage> {
    let by_id: HashMap<_, _> = sizes.iter().map(|image| (digits(&image.id), image)).collect();
    let sized = listed.into_iter().map(|mut image| {
        if let Some(found) = by_id.get(digits(&image.id)) {
            (image.size, image.shared_size, image.containers) = (found.size, found.shared_size, found.containers);
        }
        image
    });
    sized.collect()
}

fn digits(id: &str) -> &str {
    id.trim_start_matches("sha256:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn images(value: Value) -> Vec<EngineImage> {
        serde_json::from_value(value).unwrap()
    }

    /// Two images on one base of 10 bytes; packed layers take as much again.
    #[test]
    fn each_layer_counts_once() {
        let image = |id, size| {
            json!({ "Id": id, "Labels": null, "RepoTags": [], "Size": size, "SharedSize": 10,
            "Containers": 0, "Created": 5 })
        };
        let layer = |what: &str, size| json!({ "Created": 1, "CreatedBy": what, "Size": size, "Id": "<missing>" });
        let history = |layers| serde_json::from_value::<Vec<ImageLayer>>(layers).unwrap();
        let both = images(json!([image("a", 24), image("b", 30)]));
        let histories = HashMap::from([
            ("a".into(), history(json!([layer("COPY a", 2), layer("base", 10)]))),
            ("b".into(), history(json!([layer("LABEL", 0), layer("COPY b", 5), layer("base", 10)]))),
        ]);
        assert_eq!(count_layers(&both.iter().collect::<Vec<_>>(), &histories), 34);
        // Nothing is known of its layers.
        assert_eq!(count_layers(&[&both[0]], &HashMap::new()), 24);
        assert_eq!(count_layers(&[], &histories), 0);
    }

    #[test]
    fn podmans_images_have_names_and_sizes() {
        let listed = images(json!([{ "Id": "sha256:ab", "Labels": { "l": "1" }, "RepoTags": ["localhost/x:1"],
            "Size": 9, "SharedSize": 0, "Containers": 0, "Created": 5 }]));
        let sizes = images(json!([{ "Id": "ab", "Labels": {}, "RepoTags": ["1"], "Size": 9, "SharedSize": 7,
            "Containers": 2, "Created": 5 }]));
        let sized = with_sizes(listed, sizes);
        let tags: Vec<_> = sized[0].tags().collect();
        assert_eq!((tags, sized[0].shared_size, sized[0].containers), (vec!["localhost/x:1"], 7, 2));
    }
}
