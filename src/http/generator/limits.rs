use serde_json::{Map, Value};

/// Limits of steps: the parameter here, and its name in the options of a build, which is the one in the engine's API.
const LIMITS: [(&str, &str); 7] = [
    ("memory", "memory"),
    ("memoryswap", "memswap"),
    ("cpushares", "cpushares"),
    ("cpuperiod", "cpuperiod"),
    ("cpuquota", "cpuquota"),
    ("cpusetcpus", "cpusetcpus"),
    ("cpusetmems", "cpusetmems"),
];

/// Reads the limits of steps. 0 and an empty text count as absent, as they do for the engine.
///
/// # Errors
/// The parameter that cannot be used, and why.
pub fn read_limits<'a>(text: impl Fn(&str) -> &'a str) -> Result<Map<String, Value>, (&'static str, &'static str)> {
    let mut limits = Map::new();
    for (name, option) in LIMITS {
        let value = text(name);
        let is_set = name.starts_with("cpuset");
        match value {
            "" => continue,
            "0" if !is_set => continue,
            _ => {}
        }
        let mut alone = Map::new();
        alone.insert(option.into(), value.into());
        crate::model::BuildOptions::read_limits(&alone).map_err(|why| (name, why))?;
        limits.extend(alone);
    }
    Ok(limits)
}
