//! Makes room in an engine: it removes our images and build cache, the least recently used first, until the disk is
//! above its floor and they are within their budget.
//!
//! Images share layers with each other and with the cache, so the space that one image occupies is known only after its
//! removal. The engine's own `keep-storage` counts shared layers twice and removes too much
//! (<https://github.com/moby/buildkit/issues/4218>). Therefore room is made in steps, and the disk is read after each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;

use super::instance::{EngineImage, Instance};
use super::layers::{ImageLayer, count_layers, with_sizes};
use crate::disk::{self, ByteSize, Disk, Floor};
use crate::engine::advice::{self, with_cure};
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::EngineError;
use crate::model::Millis;

/// Divisor for the size of a step: a step removes at most an eighth of all removable things.
const PART: usize = 8;
/// Number of steps in one go. The rest is left for the next one.
const STEPS: usize = 100;
/// Precision of the time for which the cache was not used. Newer engines (28.5) go back to the begin of a second, so that
/// what was asked for by its exact age would stay.
const UNTIL: Duration = Duration::from_secs(1);
/// Time limit for pruning, because a disk can take minutes to remove layers.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(600);

/// Limits for the space that the daemon may use in an engine.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct SpaceLimits {
    pub floor: Floor,
    /// ENGINE_BUDGET, bytes.
    pub budget: u64,
}

/// The used part of `GET /system/df`. A list may be null, and none may be missing, because an engine that leaves one out
/// has another form of this answer, and nothing would ever be removed there.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DiskUsage {
    /// Bytes of all images' layers, where each layer counts once.
    layers_size: i64,
    #[serde(deserialize_with = "Option::deserialize")]
    images: Option<Vec<EngineImage>>,
    #[serde(deserialize_with = "Option::deserialize")]
    build_cache: Option<Vec<CacheRecord>>,
    /// Bytes of our images, if they were counted by layers.
    #[serde(skip)]
    counted: Option<u64>,
}

/// One record of the build cache.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CacheRecord {
    in_use: bool,
    /// True if the record is a layer of an image too.
    shared: bool,
    size: i64,
    created_at: String,
    last_used_at: Option<String>,
}

impl CacheRecord {
    fn last_used(&self) -> Millis {
        let at = self.last_used_at.as_ref().unwrap_or(&self.created_at);
        at.parse().unwrap_or(Millis(0))
    }

    fn bytes(&self) -> u64 {
        if self.shared { 0 } else { self.size.max(0) as u64 }
    }
}

/// An image or a record of the build cache that may be removed.
struct Removable {
    last_used: Millis,
    bytes: u64,
    object: RemovableObject,
}

enum RemovableObject {
    Image { id: String, tags: Vec<String> },
    Cache,
}

impl Engine {
    /// Reads the free space of the engine's disks if they are on this machine, and makes room if necessary. Images
    /// whose id or tag `is_in_use` stay. Returns a message if there is still too little room.
    pub(in crate::engine) async fn make_room(
        &self,
        folders: &[PathBuf],
        limits: &SpaceLimits,
        is_in_use: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, EngineError> {
        let Some(instance) = &self.instance else { return Ok(None) };
        let look =
            || disk::measure_fullest(folders, &limits.floor).map_err(|(folder, e)| self.unreadable_disk(folder, &e));
        let before = look()?;
        if before.is_some_and(|(_, disk)| limits.floor.holds(&disk)) {
            return Ok(None);
        }
        let (mut removed, mut now, mut taken) = (0, before, 0);
        let (mut tagged, mut histories) = (HashMap::new(), HashMap::new());
        for _ in 0..STEPS {
            let usage = self.usage(instance, &mut histories).await?;
            taken = usage.taken(instance);
            now = look()?;
            let goal = goal(limits, taken, now.as_ref().map(|(_, disk)| disk));
            if taken <= goal {
                break;
            }
            let mut removables = usage.removables(instance);
            for removable in &mut removables {
                if let RemovableObject::Image { id, .. } = &removable.object {
                    let created = removable.last_used;
                    removable.last_used = match tagged.get(id) {
                        Some(at) => *at,
                        None => *tagged.entry(id.clone()).or_insert(self.last_tagged(id).await.unwrap_or(created)),
                    };
                }
            }
            match self.remove_oldest(removables, taken - goal, &is_in_use).await? {
                0 => break,
                step => removed += step,
            }
        }
        if removed > 0 {
            let (name, taken) = (&self.host, ByteSize(taken));
            let room = now.map_or(String::new(), |(_, disk)| format!(", its disk has {disk}"));
            tracing::info!(
                "engine {name}: removed {removed} of our images and parts of the build cache; they take {taken}{room}"
            );
        }
        let short = now.filter(|(_, disk)| !limits.floor.holds(disk));
        Ok(short.map(|(folder, disk)| {
            with_cure(&advice::FULL_DISK, &[&self.host, &folder.display(), &disk, &limits.floor, &ByteSize(taken)])
        }))
    }

    /// Returns the bytes of this instance's images and of the build cache. The answer may take the engine seconds.
    pub(in crate::engine) async fn taken(&self) -> Result<u64, EngineError> {
        let Some(instance) = &self.instance else { return Ok(0) };
        Ok(self.usage(instance, &mut HashMap::new()).await?.taken(instance))
    }

    /// Asks what takes space in the engine. `histories` has the layers of images that were asked for before, by id.
    async fn usage(
        &self,
        instance: &Instance,
        histories: &mut HashMap<String, Vec<ImageLayer>>,
    ) -> Result<DiskUsage, EngineError> {
        let mut usage: DiskUsage = self.json(Method::GET, "/system/df").await?;
        if self.kind().await?.is_podman {
            let listed: Vec<EngineImage> = self.json(Method::GET, "/images/json").await?;
            usage.images = Some(with_sizes(listed, usage.images.unwrap_or_default()));
        }
        if self.machine().await?.has_containerd_store {
            let ours: Vec<_> = usage.images.iter().flatten().filter(|image| instance.owns(image)).collect();
            for image in &ours {
                if !histories.contains_key(&image.id) {
                    // An image that is gone has no layers.
                    let history = self.json(Method::GET, &format!("/images/{}/history", image.id)).await;
                    histories.insert(image.id.clone(), history.unwrap_or_default());
                }
            }
            usage.counted = Some(count_layers(&ours, histories));
        }
        Ok(usage)
    }

    fn unreadable_disk(&self, folder: &Path, error: &std::io::Error) -> EngineError {
        let (host, folder) = (&self.host, folder.display());
        EngineError::engine(format!("the free space of the Docker engine at {host} ({folder}) cannot be read: {error}"))
    }

    /// Returns the time at which the image was last built or tagged. An image that is built again from the cache keeps
    /// its old creation time, but its tag is new.
    async fn last_tagged(&self, id: &str) -> Option<Millis> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ImageDetails {
            metadata: ImageMetadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ImageMetadata {
            last_tag_time: String,
        }
        let details: ImageDetails = self.json(Method::GET, &format!("/images/{id}/json")).await.ok()?;
        // The engine reports the year 1 for an image without a tag.
        details.metadata.last_tag_time.parse().ok().filter(|at: &Millis| at.0 > 0)
    }

    /// Removes the least recently used objects until `bytes` are free or an eighth of all is gone. Returns their
    /// number.
    async fn remove_oldest(
        &self,
        mut removables: Vec<Removable>,
        bytes: u64,
        is_in_use: impl Fn(&str) -> bool,
    ) -> Result<usize, EngineError> {
        removables.sort_by_key(|removable| removable.last_used);
        // The next part is tried if nothing of a part can be removed, for example because containers use its images.
        for part in removables.chunks(removables.len().div_ceil(PART).max(1)) {
            let (mut removed, mut sum, mut cache) = (0, 0, None);
            for removable in part {
                match &removable.object {
                    RemovableObject::Cache => cache = Some(removable.last_used),
                    // The check comes this late because a job may have begun to build one of the image's names.
                    RemovableObject::Image { id, tags } if tags.iter().chain([id]).any(|name| is_in_use(name)) => {
                        continue;
                    }
                    RemovableObject::Image { id, tags } => {
                        let names = if tags.is_empty() { std::slice::from_ref(id) } else { tags };
                        for name in names {
                            removed += usize::from(self.remove(&format!("/images/{name}")).await?);
                        }
                    }
                }
                sum += removable.bytes;
                if sum >= bytes {
                    break;
                }
            }
            if let Some(last_used) = cache {
                removed += self.prune_cache(last_used).await?;
            }
            if removed > 0 {
                return Ok(removed);
            }
        }
        Ok(0)
    }

    /// Removes the part of the build cache that nobody has used since `last_used`, except what BuildKit is using now.
    async fn prune_cache(&self, last_used: Millis) -> Result<usize, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Pruned {
            caches_deleted: Option<Vec<String>>,
        }
        let unused = self.machine().await?.clock.since(last_used).saturating_sub(UNTIL).max(Duration::from_millis(1));
        let unused = unused.as_millis();
        let filters = serde_json::json!({ "until": [format!("{unused}ms")] }).to_string();
        let path = format!(
            "/build/prune?{}",
            form_urlencoded::Serializer::new(String::new()).append_pair("filters", &filters).finish()
        );
        let answer = self.ask(Method::POST, &path, PRUNE_TIMEOUT).await?;
        let pruned: Pruned = serde_json::from_slice(&answer)
            .map_err(|e| EngineError::engine(format!("the Docker engine answered {path} with unexpected JSON: {e}")))?;
        Ok(pruned.caches_deleted.map_or(0, |deleted| deleted.len()))
    }
}

/// Returns the number of bytes that our images and cache may keep. On a disk that is too full they give up enough for
/// the floor and a margin, unless removing all of them would not be enough: then others fill the disk, and removing
/// ours would be in vain.
fn goal(limits: &SpaceLimits, taken: u64, disk: Option<&Disk>) -> u64 {
    let wanted = limits.floor.with_margin();
    let Some(disk) = disk.filter(|disk| !wanted.holds(disk)) else { return limits.budget };
    let missing = wanted.bytes.saturating_sub(disk.free);
    match missing {
        // The inodes are short, and nobody reports how many an image takes.
        0 => limits.budget.min(taken / 2),
        missing if missing <= taken => limits.budget.min(taken - missing),
        _ => limits.budget,
    }
}

impl DiskUsage {
    /// Returns the bytes of our images and of the build cache. A layer that several of our images share counts once; a
    /// layer that others' images share with ours counts as ours.
    fn taken(&self, instance: &Instance) -> u64 {
        let images = || self.images.iter().flatten();
        let (mut ours, mut others) = (0, 0);
        for image in images() {
            match instance.owns(image) {
                true => ours += image.size.max(0) as u64,
                false => others += (image.size - image.shared_size.max(0)).max(0) as u64,
            }
        }
        let layers = (self.layers_size.max(0) as u64).saturating_sub(others);
        self.counted.unwrap_or(ours.min(layers))
            + self.build_cache.iter().flatten().map(CacheRecord::bytes).sum::<u64>()
    }

    fn removables(self, instance: &Instance) -> Vec<Removable> {
        let images = self.images.into_iter().flatten().filter(|image| instance.owns(image) && image.containers <= 0);
        let images = images.map(|image| Removable {
            last_used: Millis(image.created * 1000),
            bytes: (image.size - image.shared_size.max(0)).max(0) as u64,
            object: RemovableObject::Image { tags: image.tags().map(str::to_owned).collect(), id: image.id },
        });
        let records = self.build_cache.into_iter().flatten().filter(|record| !record.in_use && !record.shared);
        let records = records.map(|record| Removable {
            last_used: record.last_used(),
            bytes: record.bytes(),
            object: RemovableObject::Cache,
        });
        images.chain(records).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Percent;

    const GIB: u64 = 1 << 30;

    #[test]
    fn only_as_much_is_removed_as_helps() {
        let limits =
            SpaceLimits { floor: Floor { bytes: 4 * GIB, inodes: Percent::new(5).unwrap() }, budget: 20 * GIB };
        let disk = |free, inodes_percent| Disk { free, percent: 50, inodes_percent };
        for (taken, disk, goal_is) in [
            (30 * GIB, None, 20 * GIB),
            (30 * GIB, Some(disk(9 * GIB, None)), 20 * GIB),
            // The floor and its margin are 5 GiB, and 2 GiB are free.
            (10 * GIB, Some(disk(2 * GIB, None)), 7 * GIB),
            (30 * GIB, Some(disk(2 * GIB, None)), 20 * GIB),
            // Removing all of ours would not be enough.
            (2 * GIB, Some(disk(2 * GIB, None)), 20 * GIB),
            (8 * GIB, Some(disk(9 * GIB, Some(1))), 4 * GIB),
        ] {
            assert_eq!(goal(&limits, taken, disk.as_ref()), goal_is, "{taken} {disk:?}");
        }
    }

    /// Docker from API 1.53 on, and Podman 6 without a version in the path, have these fields alone.
    #[test]
    fn another_form_of_the_answer_is_an_error() {
        let newer = serde_json::json!({ "ImageUsage": { "TotalSize": 9, "Items": [] }, "BuildCacheUsage": {},
            "ContainerUsage": {}, "VolumeUsage": {} });
        let error = serde_json::from_value::<DiskUsage>(newer).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "missing field `LayersSize`");
        let null = serde_json::json!({ "LayersSize": 0, "Images": null, "BuildCache": null });
        assert_eq!(serde_json::from_value::<DiskUsage>(null).unwrap().taken(&Instance::new("aa")), 0);
        for field in ["LayersSize", "Images", "BuildCache"] {
            let mut usage = serde_json::json!({ "LayersSize": 0, "Images": [], "BuildCache": [] });
            usage.as_object_mut().unwrap().remove(field);
            assert!(serde_json::from_value::<DiskUsage>(usage).is_err(), "{field}");
        }
    }

    #[test]
    fn our_part_of_the_disk_is_measured() {
        let instance = Instance::new("aa");
        let labels = instance.labels(&crate::model::ImageRef::parse("q/a:1").unwrap());
        let labels = serde_json::json!(HashMap::from(labels));
        let image = |labels: &serde_json::Value, tag, size, shared| {
            serde_json::json!({ "Id": tag, "Labels": labels, "RepoTags": [tag], "Size": size, "SharedSize": shared,
                "Containers": 0, "Created": 5 })
        };
        let cache = |size, shared, in_use| {
            serde_json::json!({ "InUse": in_use, "Shared": shared, "Size": size, "CreatedAt": "2026-01-01T00:00:00Z",
                "LastUsedAt": null })
        };
        let usage = serde_json::json!({ "LayersSize": 150, "BuildCache": [cache(7, false, false), cache(50, true, false),
            cache(3, false, true)], "Images": [image(&labels, "q/a:1", 100, 90), image(&labels, "q/a:2", 110, 90),
            image(&serde_json::Value::Null, "base:1", 30, 0)] });
        let usage: DiskUsage = serde_json::from_value(usage).unwrap();
        assert_eq!(usage.taken(&instance), 120 + 10);
        let removables = usage.removables(&instance);
        let bytes: Vec<_> = removables.iter().map(|removable| removable.bytes).collect();
        assert_eq!(bytes, [10, 20, 7]);
        assert_eq!(removables[2].last_used, "2026-01-01T00:00:00Z".parse().unwrap());
    }
}
