use reqwest::Method;

use super::{
    Daemon, DeployKey, Engine, Etcd, Gate, GitHost, KeyType, Left, Registry, Repo, dockercfg, gpg_encrypt, note,
    push_payload,
};

pub const PASSPHRASE: &str = "correct horse";
pub const HOOK_SECRET: &str = "battery staple, horse";
pub const REGISTRY_PASSWORD: &str = "registry password";
pub const CI_TOKEN: &str = "token-of-compose-ci-webhooks";
/// The settings that open compose-ci's door beside the others.
pub const COMPOSE_CI: [(&str, &str); 2] = [("DIALECTS", "totem,conveyor,generator,compose-ci"), ("CI_TOKEN", CI_TOKEN)];

/// Everything that a push needs to become an image: the encrypted deploy key and dockercfg are in
/// etcd, the repository `acme/hello` is empty, the registry has a password.
pub struct World {
    pub daemon: Daemon,
    pub etcd: Etcd,
    pub registry: Registry,
    pub git: GitHost,
    pub repo: Repo,
    pub engine: Engine,
    pub key: DeployKey,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a world with further settings, or with other values of its own settings.
    pub async fn start_with(more: &[(&str, &str)]) -> Self {
        Self::start_at(Engine::shared(), more).await
    }

    /// Starts a world with this registry, for which the dockercfg has this login.
    pub async fn start_on(registry: Registry, (user, password): (&str, &str), more: &[(&str, &str)]) -> Self {
        Self::put_together(Engine::shared(), registry, (user, password), more).await
    }

    pub async fn start_at(engine: Engine, more: &[(&str, &str)]) -> Self {
        let registry = Registry::with_password("builder", REGISTRY_PASSWORD).await;
        Self::put_together(engine, registry, ("builder", REGISTRY_PASSWORD), more).await
    }

    async fn put_together(
        engine: Engine,
        registry: Registry,
        (user, password): (&str, &str),
        more: &[(&str, &str)],
    ) -> Self {
        let (etcd, git) = tokio::join!(Etcd::start(), GitHost::start());
        let key = DeployKey::generate(KeyType::Ed25519, PASSPHRASE);
        git.authorize(&[&key]);
        etcd.put("/totem/image-factory/github-key", key.private.as_str()).await;
        let config = dockercfg(&registry.address(), user, password);
        etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&config, PASSPHRASE)).await;
        let repo = git.repo("acme", "hello");
        let (etcd_port, images) = (etcd.port().to_string(), format!("{}/totem", registry.address()));
        let (git_url, known_hosts) = (git.url(), git.known_hosts());
        let own = [
            ("ETCD_HOST", "127.0.0.1"),
            ("ETCD_PORT", etcd_port.as_str()),
            ("ETCD_TOTEM_BASE", "/totem"),
            ("ENC_PASSPHRASE", PASSPHRASE),
            ("HOOK_SECRET", HOOK_SECRET),
            ("DOCKER_REPO_BASE", &images),
            ("DOCKER_HOST", &engine.host),
            ("GIT_URL", &git_url),
            ("KNOWN_HOSTS", known_hosts.to_str().unwrap()),
        ];
        let settings = own.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string())).collect();
        for filter in made(&registry, &git) {
            note(known_hosts.parent().unwrap(), &engine, Left::Images(&filter));
        }
        let mut daemon = Daemon::start(settings).await;
        daemon.guard("the registry's password", password);
        Self { daemon, etcd, registry, git, repo, engine, key }
    }

    /// Restarts the daemon, which reaches the Git server through this gate from now on.
    pub async fn gate_git(&mut self) -> Gate {
        let gate = Gate::start(self.git.port());
        let hosts = std::fs::read_to_string(self.git.known_hosts()).unwrap();
        let own = hosts.replace(&format!(":{} ", self.git.port()), &format!(":{} ", gate.port()));
        std::fs::write(self.git.known_hosts(), hosts + &own).unwrap();
        self.daemon.set("GIT_URL", &self.git.url_at(gate.port()));
        self.daemon.term(std::time::Duration::from_secs(10)).await;
        self.daemon.restart().await;
        gate
    }

    /// Sends compose-ci's webhook of a push of `sha` to a branch, and returns the job's id. The world needs [`COMPOSE_CI`].
    pub async fn ci_push(&self, repo: &str, branch: &str, sha: &str) -> String {
        let body = push_payload(repo, &format!("refs/heads/{branch}"), sha);
        let request = self.daemon.bare_request(Method::POST, &format!("/?token={CI_TOKEN}")).json(&body);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 202, "{text}");
        text.trim().to_owned()
    }

    /// Returns the digest in the registry of the image of `acme/hello` with this tag.
    pub async fn digest(&self, tag: &str) -> Option<String> {
        Some(self.registry.manifest("totem/acme-hello", tag).await?.0)
    }
}

/// Returns the filters of the images that a world makes: by name, and of those that lost their name to a later build.
fn made(registry: &Registry, git: &GitHost) -> [String; 3] {
    let source = git.url().replace("{owner}", "acme").replace("{repo}.git", "hello");
    let named = |depth| format!("reference={}/{depth}", registry.address());
    [named("*/*"), named("*/*/*"), format!("label=org.opencontainers.image.source={source}")]
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that fails leaves the containers that GARBAGE_COLLECT=0 kept.
        if let Ok(instance) = std::fs::read_to_string(self.daemon.data_dir().join("instance")) {
            self.engine.remove_containers(&format!("label=image-factory.instance={}", instance.trim()));
        }
        made(&self.registry, &self.git).iter().for_each(|filter| self.engine.remove_images(filter));
    }
}
