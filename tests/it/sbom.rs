//! The bill of materials of an image.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Engine, folder, unique};

/// The fields that SPDX 2.3 demands of a package, and the version.
const FIELDS: [&str; 4] = ["SPDXID", "name", "versionInfo", "downloadLocation"];

#[test]
fn the_bill_names_the_packages_and_the_libraries_of_an_image() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (engine, dir) = (Engine::shared(), folder());
    let status = "Package: git\nStatus: install ok installed\nVersion: 1:2.39.5-0+deb12u2\nArchitecture: amd64\n\n\
                  Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n";
    std::fs::write(dir.path().join("status"), status).unwrap();
    std::fs::copy(top.join("Cargo.lock"), dir.path().join("Cargo.lock")).unwrap();
    let dockerfile = "FROM image-factory-busybox:1\nCOPY Cargo.lock /usr/share/doc/image-factory/\n\
                      COPY status /var/lib/dpkg/\n";
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    let image = format!("iftest-sbom-{}", unique());
    let context = dir.path().to_str().unwrap();
    engine.docker(&["build", "--quiet", "--tag", &image, context]);
    let file = dir.path().join("sbom.json");
    let mut make = Command::new("make");
    make.current_dir(top).args(["--no-print-directory", "sbom"]).arg(format!("SBOM={}", file.display()));
    let made = make.arg(format!("IMAGE={image}")).env("DOCKER_HOST", &engine.host).output().unwrap();
    engine.docker(&["rmi", &image]);
    assert!(made.status.success(), "{made:?}");

    let bill: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&bill["spdxVersion"], &bill["dataLicense"]), (&"SPDX-2.3".into(), &"CC0-1.0".into()));
    assert!(bill["documentNamespace"].is_string() && bill["creationInfo"]["created"].is_string());
    let packages = bill["packages"].as_array().unwrap();
    let mut ids = BTreeSet::from(["SPDXRef-DOCUMENT"]);
    for package in packages {
        assert!(FIELDS.iter().all(|field| package[*field].is_string()), "{package}");
        let id = package["SPDXID"].as_str().unwrap();
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        assert!(id.strip_prefix("SPDXRef-").is_some_and(|rest| rest.chars().all(is_valid)), "{id}");
        assert!(ids.insert(id), "{id} stands for two packages");
    }
    let mut related = BTreeSet::new();
    for relation in bill["relationships"].as_array().unwrap() {
        for side in ["spdxElementId", "relatedSpdxElement"] {
            let id = relation[side].as_str().unwrap();
            assert!(ids.contains(id), "{id} is no package");
            related.insert(id);
        }
    }
    assert_eq!(related, ids);
    let locators: Vec<_> = packages.iter().filter_map(|p| p["externalRefs"][0]["referenceLocator"].as_str()).collect();
    assert!(locators.contains(&"pkg:deb/debian/git@1%3A2.39.5-0%2Bdeb12u2?arch=amd64"), "{locators:?}");
    assert!(locators.iter().any(|locator| locator.starts_with("pkg:cargo/etcd-client@")));
    assert!(!locators.iter().any(|locator| locator.contains("gone")));
    // Libraries of the tests are in the lock file and not in the binary.
    assert!(!locators.iter().any(|locator| locator.starts_with("pkg:cargo/insta@")));

    let mut other = Command::new(top.join("scripts/sbom"));
    let other = other.arg("image-factory-busybox:1").env("DOCKER_HOST", &engine.host).output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && said.contains("name an image of the daemon"), "{said}");
}
