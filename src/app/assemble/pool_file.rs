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
    /// Host or IP address, without a scheme.
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
/// The file cannot be read, is no such JSON, names no engine, or has an entry that is no host and port. No part of an entry
/// is shown, because it may be a login.
pub fn addresses(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("POOL_FILE={path:?} cannot be read"))?;
    let form = r#"write {"docker":[{"url":"127.0.0.1","port":"2375"}]}"#;
    let EnginePoolFile { docker } = serde_json::from_str(&text).map_err(|error| {
        // The message of serde may contain a value.
        anyhow::anyhow!("POOL_FILE={path:?} is not valid (line {}, column {}): {form}", error.line(), error.column())
    })?;
    anyhow::ensure!(!docker.is_empty(), "POOL_FILE={path:?} names no engine: {form}");
    let address = |(number, PoolEntry { url, port }): (usize, PoolEntry)| {
        let is_host = !url.is_empty() && url.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
        anyhow::ensure!(is_host, "POOL_FILE={path:?}: url is a host's name or address alone, entry {number}");
        let port = match port {
            PortText::Text(port) => port.parse().ok(),
            PortText::Number(port) => Some(port),
        };
        let port = port.filter(|port| *port > 0);
        let port = port.with_context(|| format!("POOL_FILE={path:?}: port is from 1 to 65535, entry {number}"))?;
        Ok(format!("tcp://{url}:{port}"))
    };
    (1..).zip(docker).map(address).collect()
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
        let own = r#"{"docker":[{"url":"127.0.0.1","port":"19000"},{"url":"localhost","port":19100}]}"#;
        assert_eq!(read(own).unwrap(), ["tcp://127.0.0.1:19000", "tcp://localhost:19100"]);
        for text in ["", "{}", r#"{"docker":[]}"#, r#"{"docker":[{"url":"127.0.0.1"}]}"#] {
            let error = read(text).unwrap_err();
            assert!(error.contains("pool.json") && error.contains("write {\"docker\""), "{error}");
        }
        for url in ["tcp://u:hidden@h", "u:hidden@h", "http://hidden", "h/hidden", "h;slots=hidden", ""] {
            let text = format!(r#"{{"docker":[{{"url":"h","port":1}},{{"url":"{url}","port":"2375"}}]}}"#);
            let error = read(&text).unwrap_err();
            assert!(error.ends_with("pool.json\": url is a host's name or address alone, entry 2"), "{error}");
        }
        for port in ["\"1@hidden\"", "\"\"", "0", "\"0\""] {
            let error = read(&format!(r#"{{"docker":[{{"url":"h","port":{port}}}]}}"#)).unwrap_err();
            assert!(error.ends_with("pool.json\": port is from 1 to 65535, entry 1"), "{error}");
        }
        let error = read(r#"{"docker":["tcp://u:hidden@h:2375"]}"#).unwrap_err();
        assert!(error.contains("is not valid (line 1, column ") && !error.contains("hidden"), "{error}");
        assert!(addresses(Path::new("/nowhere")).unwrap_err().to_string().contains("cannot be read"));
    }
}
