//! Makes room in an engine: our images and the build cache go, the least recently used first, until the disk has its
//! floor again and they are within their budget.
//!
//! Images share layers with each other and with the cache, so what one gives is known only when it is gone. The engine's
//! own `keep-storage` counts such layers twice and removes too much (<https://github.com/moby/buildkit/issues/4218>). So
//! we go in steps, and look at the disk again after each.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;

use super::sweep::{Image, Owner};
use crate::disk::{self, Disk, Floor, Size};
use crate::engine::{Engine, EngineError};
use crate::model::Millis;

/// A step takes at most this part of all that could go.
const PART: usize = 8;
/// So many steps, and what is left is for the next time.
const STEPS: usize = 100;
/// Removing layers can take a disk minutes.
const PRUNE: Duration = Duration::from_secs(600);

/// What a node may take of an engine.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Limits {
    pub floor: Floor,
    /// ENGINE_BUDGET, bytes.
    pub budget: u64,
}

/// What matters here of `GET /system/df`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    /// Bytes of all images' layers, each once.
    #[serde(default)]
    layers_size: i64,
    images: Option<Vec<Image>>,
    build_cache: Option<Vec<Record>>,
}

/// Of the build cache.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    in_use: bool,
    /// It is a layer of an image, too.
    shared: bool,
    size: i64,
    created_at: String,
    last_used_at: Option<String>,
}

impl Record {
    fn used(&self) -> Millis {
        let at = self.last_used_at.as_ref().unwrap_or(&self.created_at);
        at.parse().unwrap_or(Millis(0))
    }

    fn bytes(&self) -> u64 {
        if self.shared { 0 } else { self.size.max(0) as u64 }
    }
}

/// Something that can go.
struct Item {
    used: Millis,
    bytes: u64,
    what: What,
}

enum What {
    Image { id: String, tags: Vec<String> },
    Cache,
}

impl Engine {
    /// Looks at the engine's disk (`place`, if that is here), and makes room if there is need. An image whose id or tag
    /// `is_in_use` stays. Returns what is wrong if there is still too little.
    pub(in crate::engine) async fn make_room(
        &self,
        place: Option<&Path>,
        limits: &Limits,
        is_in_use: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, EngineError> {
        let Some(owner) = &self.owner else { return Ok(None) };
        let look = || place.map(disk::look).transpose().map_err(|e| self.unseen(place, &e));
        let before = look()?;
        if before.is_some_and(|disk| limits.floor.holds(&disk)) {
            return Ok(None);
        }
        let (mut removed, mut now, mut taken) = (0, before, 0);
        let mut tagged = HashMap::new();
        for _ in 0..STEPS {
            let usage: Usage = self.host.json(Method::GET, "/system/df").await?;
            taken = usage.taken(owner);
            now = look()?;
            let goal = goal(limits, taken, now.as_ref());
            if taken <= goal {
                break;
            }
            let mut items = usage.removable(owner);
            for item in &mut items {
                if let What::Image { id, .. } = &item.what {
                    item.used = match tagged.get(id) {
                        Some(at) => *at,
                        None => *tagged.entry(id.clone()).or_insert(self.last_tagged(id).await.unwrap_or(item.used)),
                    };
                }
            }
            match self.step(items, taken - goal, &is_in_use).await? {
                0 => break,
                step => removed += step,
            }
        }
        if removed > 0 {
            let (name, taken) = (&self.host, Size(taken));
            let room = now.map_or(String::new(), |disk| format!(", its disk has {disk}"));
            tracing::info!(
                "engine {name}: removed {removed} of our images and parts of the build cache; they take {taken}{room}"
            );
        }
        let short = now.filter(|disk| !limits.floor.holds(disk)).zip(place);
        Ok(short.map(|(disk, place)| {
            format!(
                "the disk of the Docker engine at {} ({}) has {disk}, jobs wait below {}; our images and the build cache \
                 take {} of it: make room there",
                self.host,
                place.display(),
                limits.floor,
                Size(taken)
            )
        }))
    }

    fn unseen(&self, place: Option<&Path>, error: &std::io::Error) -> EngineError {
        let place = place.unwrap_or(Path::new("")).display();
        EngineError::engine(format!(
            "the disk of the Docker engine at {} ({place}) cannot be asked: {error}",
            self.host
        ))
    }

    /// When the image was built or tagged last: one that was built again from the cache is as old as it was, but not
    /// its tag.
    async fn last_tagged(&self, id: &str) -> Option<Millis> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Details {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Metadata {
            last_tag_time: String,
        }
        let details: Details = self.host.json(Method::GET, &format!("/images/{id}/json")).await.ok()?;
        // Of one without a tag it is the year 1.
        details.metadata.last_tag_time.parse().ok().filter(|at: &Millis| at.0 > 0)
    }

    /// Removes the least recently used that together have `bytes`, but not many at once. Returns how many are gone.
    async fn step(
        &self,
        mut items: Vec<Item>,
        bytes: u64,
        is_in_use: impl Fn(&str) -> bool,
    ) -> Result<usize, EngineError> {
        items.sort_by_key(|item| item.used);
        // What cannot go now (a container uses it) must not keep the rest: then it is the next part's turn.
        for part in items.chunks(items.len().div_ceil(PART).max(1)) {
            let (mut removed, mut sum, mut cache) = (0, 0, None);
            for item in part {
                match &item.what {
                    What::Cache => cache = Some(item.used),
                    // Looked at now: a job may have begun to build one of its names since.
                    What::Image { id, tags } if tags.iter().chain([id]).any(|name| is_in_use(name)) => continue,
                    What::Image { id, tags } => {
                        let names = if tags.is_empty() { std::slice::from_ref(id) } else { tags };
                        for name in names {
                            removed += usize::from(self.remove(&format!("/images/{name}")).await?);
                        }
                    }
                }
                sum += item.bytes;
                if sum >= bytes {
                    break;
                }
            }
            if let Some(used) = cache {
                removed += self.prune_cache(used).await?;
            }
            if removed > 0 {
                return Ok(removed);
            }
        }
        Ok(0)
    }

    /// The part of the build cache that nobody has used since then. BuildKit keeps what runs.
    async fn prune_cache(&self, used: Millis) -> Result<usize, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Pruned {
            caches_deleted: Option<Vec<String>>,
        }
        let unused = self.machine().await?.clock.since(used).as_millis();
        let filters = serde_json::json!({ "until": [format!("{unused}ms")] }).to_string();
        let path = format!(
            "/build/prune?{}",
            form_urlencoded::Serializer::new(String::new()).append_pair("filters", &filters).finish()
        );
        let answer = self.host.ask(Method::POST, &path, PRUNE).await?;
        let pruned: Pruned = serde_json::from_slice(&answer)
            .map_err(|e| EngineError::engine(format!("the Docker engine answered {path} with other JSON: {e}")))?;
        Ok(pruned.caches_deleted.map_or(0, |deleted| deleted.len()))
    }
}

/// How many bytes may stay. Of a disk that is too full so much less that it has its floor and a margin, unless all of
/// ours would not be enough: then it is not ours that fills it, and to remove it would be in vain.
fn goal(limits: &Limits, taken: u64, disk: Option<&Disk>) -> u64 {
    let wanted = limits.floor.with_margin();
    let Some(disk) = disk.filter(|disk| !wanted.holds(disk)) else { return limits.budget };
    let missing = wanted.bytes.saturating_sub(disk.free);
    match missing {
        // What a file takes in inodes nobody says.
        0 => limits.budget.min(taken / 2),
        missing if missing <= taken => limits.budget.min(taken - missing),
        _ => limits.budget,
    }
}

impl Usage {
    /// Bytes of our images and of the build cache. Layers that our images share count once; one that others' images
    /// share with ours counts as ours.
    fn taken(&self, owner: &Owner) -> u64 {
        let images = || self.images.iter().flatten();
        let (mut ours, mut others) = (0, 0);
        for image in images() {
            match owner.made(image) {
                true => ours += image.size.max(0) as u64,
                false => others += (image.size - image.shared_size.max(0)).max(0) as u64,
            }
        }
        let layers = (self.layers_size.max(0) as u64).saturating_sub(others);
        ours.min(layers) + self.build_cache.iter().flatten().map(Record::bytes).sum::<u64>()
    }

    fn removable(self, owner: &Owner) -> Vec<Item> {
        let images = self.images.into_iter().flatten().filter(|image| owner.made(image) && image.containers <= 0);
        let images = images.map(|image| Item {
            used: Millis(image.created * 1000),
            bytes: (image.size - image.shared_size.max(0)).max(0) as u64,
            what: What::Image { tags: image.tags().map(str::to_owned).collect(), id: image.id },
        });
        let records = self.build_cache.into_iter().flatten().filter(|record| !record.in_use && !record.shared);
        let records = records.map(|record| Item { used: record.used(), bytes: record.bytes(), what: What::Cache });
        images.chain(records).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Percent;

    const GIB: u64 = 1 << 30;

    #[test]
    fn as_much_goes_as_helps() {
        let limits = Limits { floor: Floor { bytes: 4 * GIB, inodes: Percent::new(5).unwrap() }, budget: 20 * GIB };
        let disk = |free, inodes_percent| Disk { free, percent: 50, inodes_percent };
        for (taken, disk, goal_is) in [
            (30 * GIB, None, 20 * GIB),
            (30 * GIB, Some(disk(9 * GIB, None)), 20 * GIB),
            // 5 GiB are wanted and 2 are there.
            (10 * GIB, Some(disk(2 * GIB, None)), 7 * GIB),
            (30 * GIB, Some(disk(2 * GIB, None)), 20 * GIB),
            // All of ours would not do.
            (2 * GIB, Some(disk(2 * GIB, None)), 20 * GIB),
            (8 * GIB, Some(disk(9 * GIB, Some(1))), 4 * GIB),
        ] {
            assert_eq!(goal(&limits, taken, disk.as_ref()), goal_is, "{taken} {disk:?}");
        }
    }

    #[test]
    fn what_is_ours_is_measured() {
        let owner = Owner::new("aa");
        let labels = owner.labels(&crate::model::ImageRef::parse("q/a:1").unwrap());
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
        let usage: Usage = serde_json::from_value(usage).unwrap();
        assert_eq!(usage.taken(&owner), 120 + 10);
        let items = usage.removable(&owner);
        let bytes: Vec<_> = items.iter().map(|item| item.bytes).collect();
        assert_eq!(bytes, [10, 20, 7]);
        assert_eq!(items[2].used, "2026-01-01T00:00:00Z".parse().unwrap());
    }
}
