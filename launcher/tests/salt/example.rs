//! The project of `examples/registry`, with folders and accounts that each machine has.

use std::fs;
use std::path::Path;

/// What the example needs of its image, and what stands for it here: no package has made the folders, and no nginx judges
/// the files. The states write below `@BASE@`.
const HERE: [(&str, &str); 9] = [
    ("    - makedirs: True\n", ""),
    (".directory:\n", ".directory:\n    - makedirs: True\n"),
    ("file.managed:\n", "file.managed:\n    - makedirs: True\n"),
    ("/srv/projects/registry", "@BASE@"),
    ("/etc/", "@BASE@/etc/"),
    ("user: docker-registry", "user: nobody"),
    ("group: docker-registry", "group: nogroup"),
    ("nginx -t -q", "test -s @BASE@/etc/nginx/nginx.conf"),
    ("nginx -t", "/bin/true"),
];

const PILLAR: &str = r#"makina-projects.registry:
  data:
    domain: registry.example.org
    port: 8443
    certificate: |
      -----BEGIN CERTIFICATE-----
      first
      -----END CERTIFICATE-----
    key: |
      not a key
    users: ["ci:$2y$05$abc", "it's:$2y$05$def"]
    delete: True
"#;

/// Returns the project's files, as paths below `/srv/projects/NAME` and contents.
pub fn files() -> Vec<(String, String)> {
    let states = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/registry/.salt");
    let mut files = vec![("pillar/init.sls".to_owned(), PILLAR.to_owned())];
    for folder in [states.clone(), states.join("files")] {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let mut text = fs::read_to_string(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "sls") {
                text = HERE.iter().fold(text, |text, (of_image, here)| text.replace(of_image, here));
            }
            files.push((format!("project/.salt/{}", path.strip_prefix(&states).unwrap().display()), text));
        }
    }
    files
}
