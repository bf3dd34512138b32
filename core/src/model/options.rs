//! Options of a build that a job can set beside the repository and the image.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::image::RequestedImage;
use super::{Pull, Sharing};

/// Linux on the architectures that Docker's images are made for, as Go names them, and the variants of arm.
const ARCHITECTURES: &[&str] = &["386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"];
const VARIANTS: &[&str] = &["v5", "v6", "v7", "v8"];
const MAX_ARGS: usize = 100;

/// Path of a Dockerfile in a repository. It is relative, has no part `..`, no control character and at most 1,000 bytes.
/// `./a//b` is read as `a/b`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DockerfilePath(String);

impl Default for DockerfilePath {
    /// Returns Docker's own default.
    fn default() -> Self {
        Self("Dockerfile".into())
    }
}

impl DockerfilePath {
    /// # Errors
    /// The rule that the text breaks, as a sentence to follow "is not valid:".
    pub fn new(text: &str) -> Result<Self, &'static str> {
        match inside(text)? {
            path if path.is_empty() => Err(OUTSIDE),
            path => Ok(Self(path)),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const OUTSIDE: &str = "it must be a path inside the repository, without / in front and without ..";

/// Returns a path inside the repository without needless parts; empty for the root.
fn inside(text: &str) -> Result<String, &'static str> {
    let parts: Vec<_> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if text.starts_with('/') || parts.contains(&"..") {
        return Err(OUTSIDE);
    }
    if text.len() > 1000 || text.chars().any(char::is_control) {
        return Err("it must have at most 1000 characters and no control characters");
    }
    Ok(parts.join("/"))
}

/// Folder of a repository that is the build context, by the rules of [`DockerfilePath`]; `.` is the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ContextPath(String);

impl ContextPath {
    /// # Errors
    /// The rule that the text breaks, as a sentence to follow "is not valid:".
    pub fn new(text: &str) -> Result<Self, &'static str> {
        inside(text).map(Self)
    }

    /// Returns the path, which is empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the path in the repository of a file in this folder.
    pub fn join(&self, path: &DockerfilePath) -> DockerfilePath {
        match self.is_root() {
            true => path.clone(),
            false => DockerfilePath(format!("{}/{path}", self.0)),
        }
    }
}

impl fmt::Display for ContextPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

impl fmt::Display for DockerfilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checked options of a build. The daemon or the engine chooses the absent ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildOptions {
    /// Path from the repository's root, whatever the context is.
    pub dockerfile: Option<DockerfilePath>,
    pub context: Option<ContextPath>,
    /// True if `.git` is in the context.
    pub keep_git_dir: Option<bool>,
    /// Name of a stage of the Dockerfile.
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    /// `linux/arm64` or `linux/arm/v7`, for example.
    pub platform: Option<String>,
    /// Name of the image, if the job chooses it.
    pub image: Option<RequestedImage>,
    pub pull: Option<Pull>,
    /// True if every step runs, whatever the engine has in its cache.
    pub no_cache: Option<bool>,
    /// True if the image is built and not pushed.
    pub dry_run: Option<bool>,
    /// Limits of each step, by the names of `LIMITS`. BuildKit has none.
    pub limits: BTreeMap<String, String>,
}

/// An option that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} is not valid: {problem}")]
pub struct BadOption {
    /// Name such as `target`, or `buildArgs/NAME` for a build argument.
    pub name: String,
    pub problem: Problem,
}

/// The reason why an option cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    Type {
        expected: &'static str,
        found: Value,
    },
    /// The rule that the value breaks.
    Value(&'static str),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { expected, .. } => write!(f, "it must be of the type {expected}"),
            Self::Value(why) => f.write_str(why),
        }
    }
}

impl BuildOptions {
    /// Names of all options.
    pub const NAMES: [&str; 11] = [
        "dockerfile",
        "context",
        "keepGitDir",
        "target",
        "buildArgs",
        "platform",
        "image",
        "pull",
        "noCache",
        "dryRun",
        "limits",
    ];

    /// Reads the options of [`Self::NAMES`] from the object `build` of a request. Null and the empty text count as absent.
    ///
    /// # Errors
    /// Every option that cannot be used.
    pub fn read(build: &Map<String, Value>) -> Result<Self, Vec<BadOption>> {
        let mut reader = OptionReader { build, bad: Vec::new() };
        let options = Self {
            dockerfile: reader.text("dockerfile", DockerfilePath::new),
            context: reader.text("context", ContextPath::new),
            keep_git_dir: reader.switch("keepGitDir"),
            target: reader.text("target", target),
            build_args: reader.args(),
            platform: reader.text("platform", platform),
            image: reader.text("image", RequestedImage::new),
            pull: reader.text("pull", |text| text.parse().map_err(|_| "it must be missing or always")),
            no_cache: reader.switch("noCache"),
            dry_run: reader.switch("dryRun"),
            limits: reader.limits(),
        };
        if reader.bad.is_empty() { Ok(options) } else { Err(reader.bad) }
    }

    /// Reads the limits of steps: an object of texts or whole numbers.
    ///
    /// # Errors
    /// The rule that one of them breaks.
    pub fn read_limits(limits: &Map<String, Value>) -> Result<BTreeMap<String, String>, &'static str> {
        let limit = |(name, value): (&String, &Value)| {
            let text = match value {
                Value::Number(number) if number.is_i64() => number.to_string(),
                Value::String(text) => text.clone(),
                _ => return Err("each of them must be a text or a whole number"),
            };
            let is_list = name.starts_with("cpuset");
            let is_cpus = || {
                !text.is_empty() && text.len() <= 200 && text.bytes().all(|b| b.is_ascii_digit() || b"-,".contains(&b))
            };
            match () {
                () if !LIMITS.contains(&name.as_str()) => Err(UNKNOWN_LIMIT),
                () if is_list && !is_cpus() => Err("it must be a list of CPUs or memory nodes, such as 0-2,4"),
                () if !is_list && text.parse::<i64>().is_err() => Err("it must be a whole number, of bytes for memory"),
                () => Ok((name.clone(), text)),
            }
        };
        limits.iter().map(limit).collect()
    }

    /// Returns the Dockerfile and the context. The settings `DOCKERFILE` and `CONTEXT` apply where the job sets none. A
    /// Dockerfile that the job does not set is in the context, as it is with Docker.
    pub fn paths(&self, dockerfile: &DockerfilePath, context: &ContextPath) -> (DockerfilePath, ContextPath) {
        let context = self.context.as_ref().unwrap_or(context).clone();
        let dockerfile = self.dockerfile.clone().unwrap_or_else(|| context.join(dockerfile));
        (dockerfile, context)
    }

    /// Returns true if `.git` is in the context: by the job's option, else by BuildKit's own build argument, else by the
    /// setting `KEEP_GIT_DIR`.
    pub fn keeps_git_dir(&self, setting: bool) -> bool {
        let argument = || self.build_args.get(KEEP_GIT_DIR_ARG).and_then(|value| go_bool(value));
        self.keep_git_dir.or_else(argument).unwrap_or(setting)
    }
}

/// Limits that a build can set for its steps, by their names in the engine's API.
const LIMITS: [&str; 7] = ["memory", "memswap", "cpushares", "cpuperiod", "cpuquota", "cpusetcpus", "cpusetmems"];
const UNKNOWN_LIMIT: &str = "its names are memory, memswap, cpushares, cpuperiod, cpuquota, cpusetcpus and cpusetmems";

/// Build argument by which BuildKit's Dockerfile frontend keeps `.git` in contexts that it fetches itself.
const KEEP_GIT_DIR_ARG: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Reads what Go's `strconv.ParseBool` reads, as BuildKit does; it passes over anything else.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

struct OptionReader<'a> {
    build: &'a Map<String, Value>,
    bad: Vec<BadOption>,
}

impl OptionReader<'_> {
    fn text<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, &'static str>) -> Option<T> {
        match self.build.get(name)? {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => match read(text) {
                Ok(value) => Some(value),
                Err(why) => self.refuse(name, Problem::Value(why)),
            },
            found => self.refuse(name, Problem::Type { expected: "string", found: found.clone() }),
        }
    }

    fn switch(&mut self, name: &str) -> Option<bool> {
        match self.build.get(name)? {
            Value::Null => None,
            Value::Bool(value) => Some(*value),
            found => self.refuse(name, Problem::Type { expected: "boolean", found: found.clone() }),
        }
    }

    fn limits(&mut self) -> BTreeMap<String, String> {
        let name = "limits";
        match self.build.get(name) {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(limits)) => match BuildOptions::read_limits(limits) {
                Ok(limits) => limits,
                Err(why) => self.refuse(name, Problem::Value(why)).unwrap_or_default(),
            },
            Some(found) => {
                let found = found.clone();
                self.refuse(name, Problem::Type { expected: "object", found }).unwrap_or_default()
            }
        }
    }

    fn args(&mut self) -> BTreeMap<String, String> {
        let name = "buildArgs";
        let args = match self.build.get(name) {
            None | Some(Value::Null) => return BTreeMap::new(),
            Some(Value::Object(args)) => args,
            Some(found) => {
                let found = found.clone();
                return self.refuse(name, Problem::Type { expected: "object", found }).unwrap_or_default();
            }
        };
        if args.len() > MAX_ARGS {
            return self.refuse(name, Problem::Value("there must be at most 100 of them")).unwrap_or_default();
        }
        let mut read = BTreeMap::new();
        for (key, value) in args {
            let path = format!("{name}/{}", key.chars().take(200).collect::<String>());
            match value {
                _ if !is_variable(key) => {
                    let why = "its name must have 1 to 200 letters, digits and '_', and start with none of the digits";
                    self.refuse::<()>(&path, Problem::Value(why));
                }
                _ if Sharing::is_operators(key) => {
                    let why = "the operator alone sets it, by BUILD_PROXY, BUILD_NO_PROXY or CACHE_SCOPE: leave it out";
                    self.refuse::<()>(&path, Problem::Value(why));
                }
                Value::String(text) if text.contains('\0') => {
                    self.refuse::<()>(&path, Problem::Value("its value must have no NUL"));
                }
                Value::String(text) => drop(read.insert(key.clone(), text.clone())),
                found => {
                    self.refuse::<()>(&path, Problem::Type { expected: "string", found: found.clone() });
                }
            }
        }
        read
    }

    fn refuse<T>(&mut self, name: &str, problem: Problem) -> Option<T> {
        self.bad.push(BadOption { name: name.into(), problem });
        None
    }
}

/// Returns true for the name of an environment variable.
fn is_variable(name: &str) -> bool {
    let fits = (1..=200).contains(&name.len()) && !name.starts_with(|c: char| c.is_ascii_digit());
    fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn target(text: &str) -> Result<String, &'static str> {
    let fits = text.len() <= 200 && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    match fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        true => Ok(text.into()),
        false => Err("the name of a stage has at most 200 letters, digits, '.', '_' and '-'"),
    }
}

fn platform(text: &str) -> Result<String, &'static str> {
    let mut parts = text.split('/');
    let known = parts.next() == Some("linux")
        && parts.next().is_some_and(|architecture| ARCHITECTURES.contains(&architecture))
        && parts.next().is_none_or(|variant| VARIANTS.contains(&variant))
        && parts.next().is_none();
    if known { Ok(text.into()) } else { Err("it must be one such as linux/amd64, linux/arm64 or linux/arm/v7") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(extra: Value) -> Result<BuildOptions, Vec<BadOption>> {
        BuildOptions::read(extra.as_object().unwrap())
    }

    #[test]
    fn options_are_read_and_other_names_are_not() {
        assert_eq!(read(json!({ "realm": 5 })), Ok(BuildOptions::default()));
        assert_eq!(read(json!({ "target": null, "dockerfile": "", "buildArgs": null })), Ok(BuildOptions::default()));
        let options =
            read(json!({ "dockerfile": "./docker//web file", "target": "prod_1.x-y", "platform": "linux/arm/v7",
            "buildArgs": { "VERSION": "1.2 \"x\"\n", "_a1": "" } }))
            .unwrap();
        assert_eq!(options.dockerfile.unwrap().as_str(), "docker/web file");
        assert_eq!(
            (options.target.as_deref(), options.platform.as_deref()),
            (Some("prod_1.x-y"), Some("linux/arm/v7"))
        );
        assert_eq!(options.build_args["VERSION"], "1.2 \"x\"\n");
        assert_eq!(options.build_args["_a1"], "");
    }

    #[test]
    fn what_the_operator_alone_sets_is_refused() {
        for name in ["HTTP_PROXY", "https_proxy", "No_Proxy", Sharing::NAMESPACE] {
            let bad = read(json!({ "buildArgs": { name: "http://proxy.example.com" } })).unwrap_err();
            assert!(bad.iter().any(|bad| bad.to_string().contains("the operator alone sets it")), "{name}: {bad:?}");
        }
    }

    #[test]
    fn a_dockerfile_is_named_from_the_root_and_looked_for_in_the_context() {
        let paths = |options: Value, setting: &str| {
            let (dockerfile, context) = read(options)
                .unwrap()
                .paths(&DockerfilePath::new("docker/main").unwrap(), &ContextPath::new(setting).unwrap());
            (dockerfile.to_string(), context.to_string())
        };
        let is = |dockerfile: &str, context: &str| (dockerfile.to_owned(), context.to_owned());
        assert_eq!(paths(json!({}), "."), is("docker/main", "."));
        assert_eq!(paths(json!({}), "app"), is("app/docker/main", "app"));
        assert_eq!(
            paths(json!({ "context": "./services//api/" }), "app"),
            is("services/api/docker/main", "services/api")
        );
        assert_eq!(paths(json!({ "context": "." }), "app"), is("docker/main", "."));
        assert_eq!(paths(json!({ "dockerfile": "web" }), "app"), is("web", "app"));
        assert_eq!(paths(json!({ "dockerfile": "a/web", "context": "b" }), "."), is("a/web", "b"));
    }

    #[test]
    fn the_job_then_the_argument_then_the_setting_keeps_git_dir() {
        let keeps = |options: Value, setting| read(options).unwrap().keeps_git_dir(setting);
        let argument = |value: &str| json!({ "buildArgs": { "BUILDKIT_CONTEXT_KEEP_GIT_DIR": value } });
        assert!(!keeps(json!({}), false) && keeps(json!({}), true));
        for value in ["1", "t", "True"] {
            assert!(keeps(argument(value), false), "{value}");
        }
        for value in ["0", "false"] {
            assert!(!keeps(argument(value), true), "{value}");
        }
        for value in ["", "yes", "2"] {
            assert!(keeps(argument(value), true) && !keeps(argument(value), false), "{value}");
        }
        let mut both = argument("1");
        both["keepGitDir"] = json!(false);
        assert!(!keeps(both, true));
        assert!(keeps(json!({ "keepGitDir": true }), false) && keeps(json!({ "keepGitDir": null }), true));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (extra, name, words) in [
            (json!({ "dockerfile": "/etc/passwd" }), "dockerfile", "inside the repository"),
            (json!({ "dockerfile": "a/../../b" }), "dockerfile", "without .."),
            (json!({ "dockerfile": ".." }), "dockerfile", "without .."),
            (json!({ "dockerfile": "./" }), "dockerfile", "inside the repository"),
            (json!({ "dockerfile": "a\nb" }), "dockerfile", "control characters"),
            (json!({ "dockerfile": "a\0" }), "dockerfile", "control characters"),
            (json!({ "dockerfile": "a/".repeat(600) }), "dockerfile", "1000"),
            (json!({ "dockerfile": ["a"] }), "dockerfile", "string"),
            (json!({ "context": "/srv" }), "context", "inside the repository"),
            (json!({ "context": "services/../.." }), "context", "without .."),
            (json!({ "context": "a\0" }), "context", "control characters"),
            (json!({ "context": {} }), "context", "string"),
            (json!({ "keepGitDir": "yes" }), "keepGitDir", "boolean"),
            (json!({ "keepGitDir": 1 }), "keepGitDir", "boolean"),
            (json!({ "pull": true }), "pull", "string"),
            (json!({ "pull": "never" }), "pull", "missing or always"),
            (json!({ "noCache": "yes" }), "noCache", "boolean"),
            (json!({ "dryRun": 1 }), "dryRun", "boolean"),
            (json!({ "limits": 5 }), "limits", "object"),
            (json!({ "limits": { "memory": "1g" } }), "limits", "whole number"),
            (json!({ "limits": { "memory": 1.5 } }), "limits", "whole number"),
            (json!({ "limits": { "cgroupparent": "/x" } }), "limits", "its names are"),
            (json!({ "limits": { "cpusetcpus": "0;1" } }), "limits", "list of CPUs"),
            (json!({ "target": "-x" }), "target", "stage"),
            (json!({ "target": "a b" }), "target", "stage"),
            (json!({ "target": 1 }), "target", "string"),
            (json!({ "platform": "windows/amd64" }), "platform", "linux/arm64"),
            (json!({ "platform": "linux" }), "platform", "linux/arm64"),
            (json!({ "platform": "linux/bogus" }), "platform", "linux/arm64"),
            (json!({ "platform": "linux/arm/v7/x" }), "platform", "linux/arm64"),
            (json!({ "platform": "linux/amd64,linux/arm64" }), "platform", "linux/arm64"),
            (json!({ "image": 1 }), "image", "string"),
            (json!({ "image": "web:v1" }), "image", "without a tag"),
            (json!({ "buildArgs": ["A=1"] }), "buildArgs", "object"),
            (json!({ "buildArgs": { "A": 1 } }), "buildArgs/A", "string"),
            (json!({ "buildArgs": { "1A": "" } }), "buildArgs/1A", "letters"),
            (json!({ "buildArgs": { "": "" } }), "buildArgs/", "letters"),
            (json!({ "buildArgs": { "A-B": "" } }), "buildArgs/A-B", "letters"),
            (json!({ "buildArgs": { "A": "x\0" } }), "buildArgs/A", "NUL"),
        ] {
            let bad = read(extra.clone()).unwrap_err();
            assert_eq!(bad.len(), 1, "{extra}");
            assert_eq!(bad[0].name, name, "{extra}");
            assert!(bad[0].to_string().contains(words), "{extra}: {}", bad[0]);
        }
        let many: Map<_, _> = (0..101).map(|i| (format!("A{i}"), json!(""))).collect();
        assert!(read(json!({ "buildArgs": many })).unwrap_err()[0].to_string().contains("100"));
        assert_eq!(read(json!({ "target": 1, "platform": 2, "buildArgs": { "A": 1, "B": 2 } })).unwrap_err().len(), 4);
    }

    proptest! {
        #[test]
        fn a_path_never_leaves_the_repository(text in "[a./\\n]{0,12}") {
            if let Ok(path) = DockerfilePath::new(&text) {
                prop_assert!(path.as_str().split('/').all(|part| !matches!(part, "" | "." | "..")), "{path}");
                prop_assert_eq!(DockerfilePath::new(path.as_str()), Ok(path.clone()));
                let context = ContextPath::new(&text).unwrap();
                prop_assert_eq!(context.as_str(), path.as_str());
            }
        }
    }
}
