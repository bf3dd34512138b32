use std::os::unix::fs::PermissionsExt;

use super::super::name::{GITHUB_KEYS, Scope};
use super::*;

fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

fn owner(owner: &str) -> SecretName {
    SecretName::GithubKey(Scope::new(Some(owner), None).unwrap())
}

fn repo(owner: &str, repo: &str) -> SecretName {
    SecretName::GithubKey(Scope::new(Some(owner), Some(repo)).unwrap())
}

fn values(root: &Path) -> BTreeMap<SecretName, String> {
    let text = |v: Result<Zeroizing<Vec<u8>>, _>| String::from_utf8(v.unwrap().to_vec()).unwrap();
    read(root).unwrap().values.into_iter().map(|(name, v)| (name, text(v))).collect()
}

#[test]
fn stored_secrets_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("secrets");
    assert!(values(&root).is_empty(), "a folder that does not exist is an empty one");
    let of_owners = [owner("acme"), repo("acme", "a"), repo("other", "b")];
    let names: Vec<_> = SecretName::SINGLE.into_iter().chain(of_owners).collect();
    assert!(names.contains(&SecretName::EngineKey));
    for round in ["one", "two"] {
        for name in &names {
            put(&root, name, format!("{name} {round}").as_bytes()).unwrap();
        }
        let expected: BTreeMap<_, _> = names.iter().map(|n| (n.clone(), format!("{n} {round}"))).collect();
        assert_eq!(values(&root), expected);
    }
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("image-factory/github-keys/acme"), 0o700);
    assert_eq!(mode("image-factory/github-keys/acme/@owner"), 0o600);
    assert_eq!(mode("image-factory/dockercfg"), 0o600);
}

#[test]
fn an_owner_is_a_file_or_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join(GITHUB_KEYS)).unwrap();
    fs::write(dir.path().join(GITHUB_KEYS).join("acme"), "by hand").unwrap();
    assert_eq!(values(dir.path())[&owner("acme")], "by hand");
    put(dir.path(), &owner("acme"), b"by us").unwrap();
    assert_eq!(values(dir.path()), [(owner("acme"), "by us".to_owned())].into());
    let e = put(dir.path(), &repo("acme", "hello"), b"x").unwrap_err().to_string();
    assert!(e.contains("rename it to @owner"), "{e}");
}

#[test]
fn other_files_are_left_out_and_impossible_names_are_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join(GITHUB_KEYS);
    fs::create_dir_all(keys.join("acme")).unwrap();
    for file in ["..data", ".acme.swp", "a b", "acme/.hidden", "acme/hello~"] {
        fs::write(keys.join(file), "x").unwrap();
    }
    fs::create_dir_all(dir.path().join("image-factory/dockercfg")).unwrap();
    fs::write(dir.path().join("image-factory/other"), "x").unwrap();
    fs::write(dir.path().join("image-factory/github-key"), vec![0; MAX_SIZE as usize + 1]).unwrap();
    let contents = read(dir.path()).unwrap();
    assert_eq!(contents.trouble.len(), 2, "{:?}", contents.trouble);
    let e = |name: SecretName| contents.values[&name].clone().unwrap_err().to_string();
    assert!(e(SecretName::Dockercfg(Scope::Common)).contains("cannot be read"));
    assert!(e(SecretName::GithubKey(Scope::Common)).contains("more than 1 MiB"));
    assert_eq!(contents.values.len(), 2);
}

#[tokio::test]
async fn a_change_is_seen_also_with_the_same_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(dir.path());
    assert!(folder.next().await.unwrap().values.is_empty());
    for text in ["one", "two"] {
        folder.put(&SecretName::AuthorizedKeys, bytes(text)).await.unwrap();
        assert_eq!(*folder.next().await.unwrap().values[&SecretName::AuthorizedKeys].clone().unwrap(), text.as_bytes());
    }
    fs::remove_dir_all(dir.path().join("ssh")).unwrap();
    assert!(folder.next().await.unwrap().values.is_empty());
}

#[tokio::test]
async fn files_that_root_stores_belong_to_the_service() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(4711), Some(4712)).unwrap();
    let folder = Folder::new(&dir.path().join("secrets"));
    let path = folder.put(&SecretName::Dockercfg(Scope::Common), b"x".to_vec().into()).await.unwrap();
    for made in Path::new(&path).ancestors().take(3) {
        let owner = fs::metadata(made).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (4711, 4712), "{}", made.display());
    }
}
