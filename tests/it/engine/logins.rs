//! Logins for paths of a registry, and tokens in the place of passwords.

use serde_json::{Value, json};

use super::pushing::{dockercfg_of, pushed};
use super::*;
use crate::harness::Account;

on_each_engine!(a_registry_of_passwords_gets_the_login_of_the_base_image, no_login_goes_out_in_the_clear,);
// Podman takes no tokens.
on_docker!(each_path_has_its_own_login);
on_podman!(a_token_that_podman_would_drop_is_named, each_form_of_registries_conf_is_heeded);

const ONE: Account = Account { user: "one", password: "s3cret of one", actions: &["pull", "push"] };
const TWO: Account = Account { user: "two", password: "s3cret of two", actions: &["pull", "push"] };

fn password(account: Account) -> Value {
    json!({"username": account.user, "password": account.password})
}

/// Base images of one registry, each read with the login for its own path: by a password, by an identity token and by a
/// token of the registry.
async fn each_path_has_its_own_login(docker: Docker) {
    let registry = harness::Registry::with_tokens(&[ONE, TWO]).await;
    let address = registry.address();
    let mut bench = Bench::new(docker, "paths");
    let minted = registry.mint("repository:org3/base:pull,push");
    let auths = json!({"auths": {
        format!("{address}/org1"): password(ONE),
        format!("{address}/org2/base"): {"identitytoken": TWO.identity_token()},
        format!("{address}/org2"): {"username": "nobody", "password": "wrong"},
        format!("{address}/org3"): {"registrytoken": minted},
    }});
    bench.secrets = dockercfg_of(&auths).await;
    let paths = ["org1/app/base", "org2/base", "org3/base"];
    for path in paths {
        pushed(&bench, &format!("{address}/{path}:v1"), &bench.secrets).await.unwrap();
    }
    let before = registry.token_calls().len();
    let [one, two, three] = paths.map(|path| format!("{address}/{path}:v1"));
    bench.write(
        "Dockerfile",
        format!("ARG ONE={one}\nFROM $ONE\nCOPY --from={two} /layer /two\nCOPY --from={three} /layer /three\n"),
    );
    bench.commit();
    bench.build().await;
    let mut pulls: Vec<_> =
        registry.token_calls().split_off(before).into_iter().map(|call| (call.user.unwrap(), call.scopes)).collect();
    pulls.sort();
    pulls.dedup();
    let scope = |path: &str| vec![format!("repository:{path}:pull")];
    assert_eq!(pulls, [("one".to_owned(), scope(paths[0])), ("two".to_owned(), scope(paths[1]))]);

    // The engine keeps a token for a minute, and another login does not get it.
    let mut wrong = auths.clone();
    wrong["auths"][format!("{address}/org1")]["password"] = json!("s3cret that is wrong");
    bench.secrets = dockercfg_of(&wrong).await;
    bench.write("Dockerfile", format!("FROM {one}\nRUN echo {} > /x\n", harness::unique()));
    bench.commit();
    let log = Log::default();
    let error = bench.try_build(&log).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Login | ErrorKind::Auth), "{error}");
    assert!(error.message.contains("does not accept the login of one in the dockercfg"), "{error}");
    assert!(!format!("{error}{}", log.text()).contains("s3cret"), "{error}");
}

/// The engine speaks to a registry without TLS, which is beyond its own machine as far as anybody knows.
async fn no_login_goes_out_in_the_clear(docker: Docker) {
    let registry = harness::Registry::with_password("robot", "s3cret").await;
    let far = harness::afar(&registry.address());
    // The BuildKit of 20.10 passes over an entry with a port and without a scheme, and speaks TLS to that registry.
    let scheme = if docker == Docker::V20 { "http://" } else { "" };
    let flags = format!("--insecure-registry {scheme}{far}");
    let private = harness::PrivateEngine::start_with(docker, &[("DOCKERD_FLAGS", &flags)]).await;
    private.reach_afar(&registry.address());
    let mut bench = Bench::at(docker, "afar", private.engine.host.clone());
    bench.secrets = dockercfg_of(&json!({&far: {"username": "robot", "password": "s3cret"}})).await;
    let refused = pushed(&bench, &format!("{far}/acme/base:v1"), &bench.secrets).await.unwrap_err();
    assert_eq!((refused.kind, registry.logins()), (ErrorKind::Exposed, 0), "{refused}");
    for builder in docker.builders() {
        bench.engine = Engine::new(bench.host.parse::<Host>().unwrap()).with_builder(*builder);
        bench.write("Dockerfile", format!("FROM {far}/acme/base:v1\nRUN echo {} > /x\n", harness::unique()));
        bench.commit();
        let asked = registry.calls("", "/v2/");
        let error = bench.try_build(&Log::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exposed, "{error}");
        assert!(error.message.contains("its password was not sent"), "{error}");
        assert!(registry.calls("", "/v2/") > asked, "the engine does not reach the registry");
        assert_eq!(registry.logins(), 0);
    }
}

/// Beside a host without its port, which the test before has, Podman's configuration names paths, and the hosts of a domain.
async fn each_form_of_registries_conf_is_heeded(docker: Docker) {
    let registry = harness::Registry::with_password("robot", "s3cret").await;
    let far = harness::afar(&registry.address());
    let dir = harness::folder();
    let path = dir.path().join("registries.conf");
    let of_path = format!("[[registry]]\nlocation = \"{far}/acme\"\ninsecure = true\n");
    fs::write(&path, of_path + "[[registry]]\nprefix = \"*.iftest.invalid\"\ninsecure = true\n").unwrap();
    let env = [("REGISTRIES_CONF", path.to_str().unwrap())];
    let private = harness::PrivateEngine::start_with(docker, &env).await;
    private.reach_afar(&registry.address());
    let mut bench = Bench::at(docker, "forms", private.engine.host.clone());
    for host in [far.as_str(), "a.iftest.invalid:5000", "a.b.iftest.invalid"] {
        bench.secrets = dockercfg_of(&json!({host: {"username": "robot", "password": "s3cret"}})).await;
        let refused = pushed(&bench, &format!("{host}/acme/base:v1"), &bench.secrets).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Exposed, "{refused}");
    }
    bench.secrets = dockercfg_of(&json!({&far: {"username": "robot", "password": "s3cret"}})).await;
    bench.write("Dockerfile", format!("FROM {far}/acme/base:v1\nRUN echo {} > /x\n", harness::unique()));
    bench.commit();
    let error = bench.try_build(&Log::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exposed, "{error}");
    assert!(registry.calls("", "/v2/") > 0, "the engine does not reach the registry");
    assert_eq!(registry.logins(), 0);
}

/// Podman would push and pull without a login, and say that the registry asks for one.
async fn a_token_that_podman_would_drop_is_named(docker: Docker) {
    let registry = harness::Registry::with_tokens(&[ONE]).await;
    let address = registry.address();
    let mut bench = Bench::new(docker, "tokens");
    let minted = registry.mint("repository:org/base:pull,push");
    let passwords = dockercfg_of(&json!({&address: password(ONE)})).await;
    pushed(&bench, &format!("{address}/org/base:v1"), &passwords).await.unwrap();
    for login in [json!({"identitytoken": ONE.identity_token()}), json!({"registrytoken": minted})] {
        bench.secrets = dockercfg_of(&json!({&address: login})).await;
        let refused = pushed(&bench, &format!("{address}/org/base:v1"), &bench.secrets).await.unwrap_err();
        bench.write("Dockerfile", format!("FROM {address}/org/base:v1\nRUN echo {} > /x\n", harness::unique()));
        bench.commit();
        let error = bench.try_build(&Log::default()).await.unwrap_err();
        assert_eq!((refused.kind, error.kind), (ErrorKind::Exposed, ErrorKind::Exposed), "{refused}, {error}");
        let message = refused.message.replace(&address, "[registry]");
        insta::allow_duplicates! {
            insta::assert_snapshot!(message, @"the token for [registry] was not sent, because Podman takes user names and passwords alone: store a user name and a password for that registry, or use Docker");
        }
        assert!(error.message.ends_with(&refused.message), "{error}");
    }
}

/// Such a registry is asked with one login by both builders, which is that of the Dockerfile's own images.
async fn a_registry_of_passwords_gets_the_login_of_the_base_image(docker: Docker) {
    let registry = harness::Registry::with_password("robot", "s3cret").await;
    let address = registry.address();
    for builder in docker.builders() {
        let mut bench = Bench::new(docker, "by-host");
        bench.engine = Engine::new(bench.host.parse::<Host>().unwrap()).with_builder(*builder);
        let right = json!({"username": "robot", "password": "s3cret"});
        let wrong = json!({"username": "robot", "password": "wrong"});
        let both = json!({format!("{address}/org1"): right, format!("{address}/org2"): wrong});
        bench.secrets = dockercfg_of(&both).await;
        let image = format!("{address}/org1/base:{}", bench.name);
        pushed(&bench, &image, &bench.secrets).await.unwrap();
        let refused = pushed(&bench, &format!("{address}/org2/base:v1"), &bench.secrets).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Login, "{refused}");
        bench.write("Dockerfile", format!("FROM {image}\n"));
        bench.commit();
        bench.build().await;
        assert!(bench.exists());
        bench.on().remove_images(&format!("reference={address}/*/*"));

        // Of two logins the engine gets neither, as none is for the whole registry, and the log says so.
        bench.write("Dockerfile", format!("FROM {image}\nCOPY --from={address}/org2/base:v1 /layer /two\n"));
        bench.commit();
        let log = Log::default();
        bench.try_build(&log).await.unwrap_err();
        let line =
            log.text().lines().find(|line| line.contains("takes one login")).unwrap().replace(&address, "[registry]");
        insta::allow_duplicates! {
            insta::assert_snapshot!(line, @"The engine takes one login of [registry], and the base images have several in the dockercfg ([registry]/org1, [registry]/org2): it gets the one for the whole registry, if there is one");
        }
        assert!(!log.text().contains("s3cret"));
    }
}
