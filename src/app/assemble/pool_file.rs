//! The file by which containerops' generator names its engines, `conf/pool.json`.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

#[derive(Deserialize)]
struct EnginePoolFile {
    docker: Vec<PoolEntry>,
}

#[derive(Deserialize)]
struct PoolEntry {
    /// Host, with or without a scheme.
    url: String,
    port: PortText,
}

/// generator's own file has the port as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum PortText {
    Text(String),
    Number(u16),
}

/// Returns the engines' addresses, in the form of DOCKER_HOST.
///
/// # Errors
/// The file cannot be read, is no such JSON, or names no engine.
pub fn addresses(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("POOL_FILE={path:?} cannot be read"))?;
    let form = r#"write {"docker":[{"url":"127.0.0.1","port":"2375"}]}"#;
    let EnginePoolFile { docker } =
        serde_json::from_str(&text).with_context(|| format!("POOL_FILE={path:?} is not valid: {form}"))?;
    anyhow::ensure!(!docker.is_empty(), "POOL_FILE={path:?} names no engine: {form}");
    let address = |entry: PoolEntry| {
        let host = entry.url.split_once("://").map_or(entry.url.as_str(), |(_, host)| host).trim_end_matches('/');
        match entry.port {
            PortText::Text(port) => format!("tcp://{host}:{port}"),
            PortText::Number(port) => format!("tcp://{host}:{port}"),
        }
    };
    Ok(docker.into_iter().map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_of_generators_file_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            addresses(&path).map_err(|error| format!("{error:#}"))
        };
        let own = r#"{"docker":[{"url":"127.0.0.1","port":"19000"},{"url":"http://127.0.0.1/","port":19100}]}"#;
        assert_eq!(read(own).unwrap(), ["tcp://127.0.0.1:19000", "tcp://127.0.0.1:19100"]);
        for text in ["", "{}", r#"{"docker":[]}"#, r#"{"docker":[{"url":"127.0.0.1"}]}"#] {
            let error = read(text).unwrap_err();
            assert!(error.contains("pool.json") && error.contains("write {\"docker\""), "{error}");
        }
        assert!(addresses(Path::new("/nowhere")).unwrap_err().to_string().contains("cannot be read"));
    }
}
