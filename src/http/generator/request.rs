use std::collections::HashMap;

use serde_json::{Map, Value};

use super::dockerfile::read_dockerfile;
use super::limits::read_limits;
use crate::http::error::{ApiError, shortened};
use crate::http::messages;
use crate::intake::JobRequest;
use crate::model::{
    Destinations, Dialect, DockerfilePath, ImageRef, JobContext, JobSource, RepoName, RequestedImage, blob_id,
};

/// Owner in the context of a job that has no repository.
const OWNER: &str = "generator";

/// Reads the query of `GET /b1/build`. A parameter that is not known, and the values of one after its first, are passed
/// over, as Go's forms do. `suppressoutput` and `forceremove` change nothing: a log is whole, and containers of steps are
/// always removed.
///
/// # Errors
/// The first parameter that is missing, that cannot be used, or that is not offered here.
pub fn read(query: &str, destinations: &Destinations) -> Result<JobRequest, ApiError> {
    let mut first = HashMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        first.entry(name.into_owned()).or_insert_with(|| value.into_owned());
    }
    let text = |name: &str| first.get(name).map_or("", String::as_str);
    for (name, why) in NOT_OFFERED {
        if !matches!(text(name), "" | "0") {
            return Err(unusable(name, why));
        }
    }
    let image = read_image(text("imagename"), &destinations.base)?;
    // From March 2016 on, `mode` was necessary, and the text moved to `context`.
    let (place, path) = match text("mode") {
        "" => ("dockerfile", ""),
        "dockerfile" => ("context", text("dockerfile")),
        "archive" => return Err(unusable("mode", ARCHIVE)),
        _ => return Err(unusable("mode", "it must be dockerfile, or left out")),
    };
    let dockerfile = read_dockerfile(text(place)).map_err(|why| unusable(place, &why))?;
    let mut build = Map::new();
    if !path.is_empty() {
        let path = DockerfilePath::new(path).map_err(|why| unusable("dockerfile", why))?;
        build.insert("dockerfile".into(), path.as_str().into());
    }
    if is_true(text("nocache")) {
        build.insert("noCache".into(), true.into());
    }
    if is_true(text("pull")) {
        build.insert("pull".into(), "always".into());
    }
    let limits = read_limits(text).map_err(|(name, why)| unusable(name, why))?;
    if !limits.is_empty() {
        build.insert("limits".into(), limits.into());
    }
    let context = context(&image, &dockerfile, build)?;
    // The request names the tag, so it moves to this image whatever it names now.
    let tag_named = true;
    let (source, dialect) = (JobSource::Dockerfile(dockerfile), Dialect::Generator);
    Ok(JobRequest { context, source, tag_named, is_head: false, dialect })
}

/// Parameters that have no place here, each with what to do instead.
const NOT_OFFERED: [(&str, &str); 2] = [
    ("remoteurl", "a Git repository is built by its webhook or by POST /job"),
    ("cgroupparent", "no request chooses a cgroup of the engine's machine: leave it out"),
];

const ARCHIVE: &str =
    "no request reads a file of this machine: push the files to a Git repository, or send a Dockerfile alone";

fn unusable(name: &str, why: &str) -> ApiError {
    ApiError::Message(&messages::PARAMETER, vec![name.into(), why.into()])
}

/// Returns the truth of a parameter as Docker's API reads it.
fn is_true(text: &str) -> bool {
    !matches!(text.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// Reads the image's name: `[registry/]path[:tag]`. The tag is `latest` by default, and a path without a registry is one
/// below `base`, DOCKER_REPO_BASE.
fn read_image(text: &str, base: &str) -> Result<ImageRef, ApiError> {
    let refused = |why: &str| unusable("imagename", why);
    if text.is_empty() {
        return Err(refused("it is missing: name the image, such as imagename=quay.io/acme/example"));
    }
    let (name, tag) = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((text, "latest"));
    let name = match RequestedImage::new(name) {
        Ok(RequestedImage::Absolute(_)) => name.to_owned(),
        Ok(RequestedImage::Below(_)) => format!("{base}/{name}"),
        Err(_) => {
            return Err(refused(&format!(
                "{:?} is no name of an image, such as quay.io/acme/example:1",
                shortened(text)
            )));
        }
    };
    ImageRef::parse(&format!("{name}:{tag}")).map_err(|error| refused(&error.to_string()))
}

/// Returns the context of a Dockerfile's job. `{dockerRepoBase}/{repo}:{tag}` is its image, and its commit is the id that
/// Git gives the Dockerfile.
fn context(image: &ImageRef, dockerfile: &str, build: Map<String, Value>) -> Result<JobContext, ApiError> {
    let (docker_repo_base, repo) = image.name().rsplit_once('/').unwrap_or(("docker.io", image.name()));
    RepoName::new(OWNER, repo).map_err(|error| unusable("imagename", &error.to_string()))?;
    let mut context = JobContext {
        owner: OWNER.into(),
        repo: repo.into(),
        branch: String::new(),
        commit: blob_id(dockerfile).to_string(),
        github: false,
        docker_repo_base: docker_repo_base.into(),
        tag: image.tag().into(),
        branch_left_out: false,
        extra: Map::new(),
    };
    context.set_build_options(build);
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::json;

    fn query(pairs: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    fn read(pairs: &[(&str, &str)]) -> Result<JobRequest, String> {
        let destinations = crate::http::testing::destinations("quay.io/totem");
        super::read(&query(pairs), &destinations).map_err(|error| error.text(""))
    }

    fn dockerfile() -> String {
        URL_SAFE_NO_PAD.encode("FROM busybox\n")
    }

    #[test]
    fn an_image_is_named_as_docker_names_it() {
        for (name, base, repo, tag) in [
            ("containerops.me/cts/example", "containerops.me/cts", "example", "latest"),
            ("127.0.0.1:5000/a/b:1.2", "127.0.0.1:5000/a", "b", "1.2"),
            ("cts/example", "quay.io/totem/cts", "example", "latest"),
            ("example:v1", "quay.io/totem", "example", "v1"),
            ("docker.io/busybox", "docker.io", "busybox", "latest"),
        ] {
            let made = read(&[("imagename", name), ("dockerfile", &dockerfile())]).unwrap();
            let context = made.context;
            let found = (&*context.docker_repo_base, &*context.repo, &*context.tag);
            assert_eq!(found, (base, repo, tag), "{name}");
            assert_eq!((&*context.owner, &*context.branch, context.github), ("generator", "", false));
            assert_eq!(context.commit, blob_id("FROM busybox\n").to_string());
            assert_eq!(made.source.dockerfile(), Some("FROM busybox\n"));
        }
    }

    #[test]
    fn parameters_of_march_2016_are_read() {
        let text = dockerfile();
        let made = read(&[
            ("imagename", "q.io/a/b"),
            ("mode", "dockerfile"),
            ("context", &text),
            ("dockerfile", "docker/web"),
            ("nocache", "true"),
            ("pull", "1"),
            ("memory", "536870912"),
            ("memoryswap", "-1"),
            ("cpushares", "0"),
            ("cpusetcpus", "0-1"),
            ("suppressoutput", "true"),
            ("forceremove", "1"),
            ("unknown", "x"),
        ]);
        let build = json!({"dockerfile": "docker/web", "noCache": true, "pull": "always",
            "limits": {"memory": "536870912", "memswap": "-1", "cpusetcpus": "0-1"}});
        assert_eq!(json!(made.unwrap().context.extra), json!({"build": build}));
        let plain = read(&[("imagename", "q.io/a/b"), ("dockerfile", &text), ("nocache", "false"), ("pull", "")]);
        assert_eq!(json!(plain.unwrap().context.extra), json!({}));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (text, name) = (dockerfile(), ("imagename", "q.io/a/b"));
        let long = format!("q.io/{}", "a".repeat(101));
        let mut refusals = Vec::new();
        for pairs in [
            vec![],
            vec![name],
            vec![("imagename", "q.io/A"), ("dockerfile", &text)],
            vec![("imagename", "q.io/a@sha256:0123"), ("dockerfile", &text)],
            vec![("imagename", "q.io/a:-x"), ("dockerfile", &text)],
            vec![("imagename", &long), ("dockerfile", &text)],
            vec![name, ("dockerfile", "?")],
            vec![name, ("mode", "archive"), ("context", "/etc/passwd")],
            vec![name, ("mode", "x"), ("context", &text)],
            vec![name, ("mode", "dockerfile"), ("dockerfile", &text)],
            vec![name, ("mode", "dockerfile"), ("context", &text), ("dockerfile", "../x")],
            vec![name, ("dockerfile", &text), ("remoteurl", "https://github.com/acme/hello")],
            vec![name, ("dockerfile", &text), ("cgroupparent", "/x")],
            vec![name, ("dockerfile", &text), ("memory", "1g")],
            vec![name, ("dockerfile", &text), ("cpusetcpus", "0;1")],
        ] {
            let shown = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
            refusals.push(format!("{shown}\n  {}", read(&pairs).unwrap_err()));
        }
        insta::assert_snapshot!("refused_parameters", refusals.join("\n"));
    }

    proptest! {
        #[test]
        fn any_query_is_a_job_or_a_refusal(query in "\\PC{0,60}") {
            let _ = super::read(&query, &crate::http::testing::destinations("quay.io/totem"));
        }
    }
}
