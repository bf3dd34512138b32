use super::*;

fn source(url: &str) -> RepoSource {
    RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url: url.into(), key: None }
}

/// Checks a submodule's URL in a repository at `base`. The error says why the URL is refused.
fn checked(base: &str, url: &str) -> Result<SubmoduleSource, String> {
    let (source, secrets) = (source(base), Secrets::default());
    Superproject::new(&source, Remote::parse(base).unwrap(), &secrets)
        .check_url(base, false, url)
        .map_err(|refused| refused.why)
}

const HTTPS: &str = "https://github.com/acme/hello.git";
const SSH: &str = "git@github.com:acme/hello.git";
const FILE: &str = "file:///srv/git/acme/hello.git";

#[test]
fn where_submodules_are_fetched_from() {
    for (base, url, fetched, repo, is_foreign) in [
        (SSH, "../lib.git", "git@github.com:acme/lib.git", "acme/lib", false),
        (SSH, "../../other/lib", "git@github.com:other/lib", "other/lib", false),
        (SSH, "git@GitHub.com:acme/lib.git", "git@GitHub.com:acme/lib.git", "acme/lib", false),
        (SSH, "ssh://git@github.com:22/acme/lib.git", "ssh://git@github.com:22/acme/lib.git", "acme/lib", false),
        (SSH, "https://github.com/acme/lib.git", "https://github.com/acme/lib.git", "acme/lib", false),
        (SSH, "https://gitlab.com/a/b/lib.git", "https://gitlab.com/a/b/lib.git", "b/lib", true),
        (HTTPS, "../lib.git", "https://github.com/acme/lib.git", "acme/lib", false),
        // There is no key here, but perhaps a token.
        (HTTPS, "git@github.com:acme/lib.git", "https://github.com/acme/lib.git", "acme/lib", false),
        (HTTPS, "ssh://git@github.com/acme/lib.git", "https://github.com/acme/lib.git", "acme/lib", false),
        (HTTPS, "https://me@bitbucket.org/a/lib.git", "https://bitbucket.org/a/lib.git", "a/lib", true),
        ("http://127.0.0.1:3000/acme/hello", "../lib", "http://127.0.0.1:3000/acme/lib", "acme/lib", false),
        (FILE, "../lib.git", "file:///srv/git/acme/lib.git", "acme/lib", false),
        (FILE, "../../other/lib.git", "file:///srv/git/other/lib.git", "other/lib", false),
        (FILE, "https://github.com/a/b", "https://github.com/a/b", "a/b", true),
    ] {
        let place = checked(base, url).unwrap_or_else(|why| panic!("{base} {url}: {why}"));
        assert_eq!((place.source.url.as_str(), place.remote.is_foreign), (fetched, is_foreign), "{base} {url}");
        assert_eq!((place.remote.url.as_str(), place.source.repo.to_string()), (fetched, repo.into()), "{base} {url}");
    }
}

#[test]
fn a_password_stays_with_its_server() {
    let base = "https://me:hunter22@git.corp/acme/hello.git";
    for url in ["../lib.git", "https://git.corp/acme/lib.git", "https://you@git.corp/acme/lib.git"] {
        let place = checked(base, url).unwrap();
        assert_eq!(place.remote.url, "https://git.corp/acme/lib.git");
        assert_eq!(place.remote.authorization, Remote::parse(base).unwrap().authorization, "{url}");
    }
    for url in ["https://git.corp:8443/acme/lib.git", "https://git.corp.example.com/acme/lib.git", "https://other/a/b"]
    {
        let place = checked(base, url).unwrap();
        assert!(place.remote.authorization.is_none() && !place.source.url.contains("hunter22"), "{url}");
    }
}

#[test]
fn attacks_are_refused() {
    for (base, url, why) in [
        (HTTPS, "ext::sh -c id", "cannot be used"),
        (HTTPS, "--upload-pack=id", "starts with '-'"),
        (HTTPS, "-oProxyCommand=id:a", "starts with '-'"),
        (HTTPS, "ssh://-oProxyCommand=id/a", "cannot be used: its host starts with '-'"),
        (HTTPS, "git://github.com/a/b", "only https, http, ssh and file URLs"),
        (HTTPS, "https:///a/b", "it has no host"),
        (HTTPS, "https://github.com/a%0ab", "a space or a control character"),
        (HTTPS, "https://github.com/a\nb", "a space or a control character"),
        (HTTPS, "https://me:pw@github.com/a/b", "has a password in it"),
        (SSH, "ssh://git:pw@github.com/a/b", "has a password in it"),
        (HTTPS, "http://github.com/a/b", "is a http URL"),
        (HTTPS, "../../../b", "leaves the host"),
        (SSH, "../../../b", "leaves the host"),
        (HTTPS, "../x/../../b", "has an empty part, or one of dots"),
        (HTTPS, "https://github.com/acme/../other/b", "has .. in its path"),
        (SSH, "git@github.com:acme/%2e%2E/b", "has .. in its path"),
        (HTTPS, "file:///etc", "is a file URL"),
        (FILE, "file:///srv/git/acme/lib.git", "is a file URL"),
        (FILE, "../../../other/lib.git", "is a file URL"),
        (FILE, "/srv/git/acme/lib.git", "cannot be used"),
        (SSH, "git@gitlab.com:a/b.git", "is on gitlab.com, and deploy keys go to GIT_URL's host alone"),
        (FILE, "git@github.com:a/b.git", "deploy keys go to GIT_URL's host alone"),
        (HTTPS, "../", "has an empty part, or one of dots"),
        (HTTPS, "", "cannot be used"),
    ] {
        let refused = checked(base, url).map(|place| place.source.url).expect_err(url);
        assert!(refused.contains(why) && !refused.contains("pw"), "{url}: {refused}");
    }
}

#[tokio::test]
async fn nothing_inward_is_fetched_for_a_payload() {
    let secrets = Secrets::default();
    for url in [
        "https://127.0.0.1/a/b",
        "https://localhost:8443/a/b",
        "https://169.254.169.254/a/b",
        "https://[::1]/a/b",
        "https://0.0.0.0/a/b",
        "https://2130706433/a/b",
        "https://0x7f.1/a/b",
    ] {
        // An address needs no name service.
        let source = source("https://192.0.2.1/acme/hello.git");
        let superproject = Superproject::new(&source, source.remote().unwrap(), &secrets);
        let error = superproject.locate(&source.url, false, url).await.expect_err(url);
        assert!(error.message.contains("which is this machine or its own network: refused"), "{url}: {error}");
        assert!(!error.is_transient());
    }
    // If the operator's own host is local, other local hosts may be reached too.
    let source = source("https://127.0.0.1:3000/acme/hello.git");
    let superproject = Superproject::new(&source, source.remote().unwrap(), &secrets);
    let place = superproject.locate(&source.url, false, "https://127.0.0.2/a/b").await.unwrap();
    assert_eq!((place.remote.is_foreign, place.remote.pinned), (true, None));
    let source = self::source("https://192.0.2.1/acme/hello.git");
    let superproject = Superproject::new(&source, source.remote().unwrap(), &secrets);
    let place = superproject.locate(&source.url, false, "https://192.0.2.7:8443/a/b").await.unwrap();
    assert_eq!(place.remote.pinned.as_deref(), Some("192.0.2.7:8443:192.0.2.7"));
}

#[test]
fn what_a_foreign_repository_names_is_foreign() {
    let (source, secrets) = (source("https://me:hunter22@git.corp/acme/hello.git"), Secrets::default());
    let superproject = Superproject::new(&source, source.remote().unwrap(), &secrets);
    let check = |url| superproject.check_url("https://example.com/a/b.git", true, url);
    for url in ["../c.git", "https://git.corp/acme/private.git"] {
        let place = check(url).unwrap();
        assert!(place.remote.is_foreign && place.remote.authorization.is_none(), "{url}");
        assert!(!place.source.url.contains("hunter22"), "{url}");
    }
    let why = check("git@git.corp:acme/private.git").unwrap_err().why;
    assert!(why.contains("in a repository of another host, which is given no key"), "{why}");
}
