use std::fs;
use std::path::Path;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use image_factory::settings::TABLE;

use super::world::{HOOK_SECRET, PASSPHRASE, REGISTRY_PASSWORD};

/// The token of whom every daemon knows, unless a test has API_TOKENS of its own.
pub const API_TOKENS: &str = "canary:read:canary-of-the-api-tokens";

/// Shorter ones, which some tests choose, are found by chance.
const MIN: usize = 9;

/// Secrets that must be nowhere: plain, and in base64 at each alignment.
#[derive(Clone, Default)]
pub struct Canaries(Vec<(String, String)>);

impl Canaries {
    /// Returns the secrets that every `World` has.
    pub fn known() -> Self {
        let mut known = Self::default();
        known.add("ENC_PASSPHRASE", PASSPHRASE);
        known.add("HOOK_SECRET", HOOK_SECRET);
        known.add("the registry's password", REGISTRY_PASSWORD);
        known.add_setting("API_TOKENS", API_TOKENS);
        known
    }

    pub fn add(&mut self, name: &str, secret: &str) {
        // A shorter text occurs by chance.
        if secret.len() >= MIN && !self.0.iter().any(|(_, known)| known == secret) {
            self.0.push((name.into(), secret.into()));
        }
    }

    /// Adds the secret parts of a setting, if it is a secret one.
    pub fn add_setting(&mut self, name: &str, value: &str) {
        if !TABLE.iter().any(|spec| spec.secret && (spec.name == name || spec.aliases.contains(&name))) {
            return;
        }
        match name {
            "API_TOKENS" => value.split(',').filter_map(|t| t.rsplit(':').next()).for_each(|t| self.add(name, t)),
            "HOOK_SIGNING_KEY" => self.add(name, value.trim_start_matches("whsec_").trim_end_matches('=')),
            "GIT_TOKEN" => self.add(name, value.rsplit(':').next().unwrap_or(value)),
            "SLACK_URL" => self.add(name, value.rsplit('/').next().unwrap_or(value)),
            "GITHUB_PRIVATE_KEY" => {
                value.lines().filter(|line| !line.starts_with("-----")).for_each(|line| self.add(name, line))
            }
            _ => self.add(name, value),
        }
    }

    /// The names of those that are in a text.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let finder = self.finder();
        let mut found: Vec<&str> =
            finder.1.find_iter(bytes).map(|m| self.0[finder.0[m.pattern().as_usize()]].0.as_str()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn finder(&self) -> (Vec<usize>, AhoCorasick) {
        let (mut owners, mut forms) = (Vec::new(), Vec::new());
        for (index, (_, secret)) in self.0.iter().enumerate() {
            let mut all = vec![secret.clone()];
            for shift in 0..3 {
                for alphabet in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
                    // Without what the neighbours have a part in.
                    let text = alphabet.encode([&[0; 2][..shift], secret.as_bytes()].concat());
                    all.push(text[[0, 2, 3][shift]..text.len() - 1].to_owned());
                }
            }
            owners.extend(all.iter().map(|_| index));
            forms.extend(all);
        }
        (owners, AhoCorasick::new(forms).unwrap())
    }

    /// `FILE: NAME` of what is in the files of a folder (by name or content), but for these of its entries.
    pub fn found_below(&self, folder: &Path, except: &[&str]) -> Vec<String> {
        let finder = self.finder();
        let mut found = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(current) = folders.pop() {
            for entry in fs::read_dir(&current).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                if current == folder && except.iter().any(|e| name == *e) {
                    continue;
                }
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                // Git's objects are compressed, and what is large is a test's own.
                if meta.is_dir() && name != "objects" {
                    folders.push(path.clone());
                }
                let mut content = name.as_encoded_bytes().to_vec();
                if meta.is_file() && meta.len() < 16 << 20 {
                    content.push(b'\n');
                    content.extend(fs::read(&path).unwrap_or_default());
                }
                let hits = finder.1.find_iter(&content).map(|m| &self.0[finder.0[m.pattern().as_usize()]].0);
                found.extend(hits.map(|name| format!("{}: {name}", path.display())));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
