use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{folder, succeed, unique};

/// A certificate authority of a test's own, by openssl.
pub struct Authority {
    own: Pem,
}

/// A certificate and its key, in files.
pub struct Pem {
    dir: TempDir,
    cert: String,
    key: String,
}

impl Authority {
    pub fn new() -> Self {
        let own = Pem::new();
        let (subject, extensions) = (format!("/CN=authority {}", unique()), "basicConstraints=critical,CA:TRUE");
        openssl(&[
            &["req", "-x509", "-days", "2", "-subj", &subject, "-addext", extensions],
            &NEW_KEY,
            &["-keyout", &own.key, "-out", &own.cert],
        ]);
        Self { own }
    }

    /// The file of its own certificate.
    pub fn cert(&self) -> &str {
        self.own.cert()
    }

    /// The file of its own key.
    pub fn key(&self) -> &str {
        self.own.key()
    }

    /// For a server or a client, on this name, such as `IP:127.0.0.1`.
    pub fn issue(&self, name: &str) -> Pem {
        self.sign(&format!("subjectAltName={name}"), &["-days", "2"])
    }

    pub fn issue_expired(&self, name: &str) -> Pem {
        self.sign(&format!("subjectAltName={name}"), &EXPIRED)
    }

    /// A folder as DOCKER_CERT_PATH has it; `usage` is `serverAuth` or `clientAuth`.
    pub fn docker_certs(&self, usage: &str, name: &str, expired: bool) -> TempDir {
        let dates: &[&str] = if expired { &EXPIRED } else { &["-days", "2"] };
        let pem = self.sign(&format!("subjectAltName={name}\nextendedKeyUsage={usage}"), dates);
        let dir = folder();
        for (from, to) in [(self.cert(), "ca.pem"), (pem.cert(), "cert.pem"), (pem.key(), "key.pem")] {
            std::fs::copy(from, dir.path().join(to)).unwrap();
        }
        dir
    }

    /// Signs a certificate with `openssl ca`, because no other command takes dates of the past.
    fn sign(&self, extensions: &str, dates: &[&str]) -> Pem {
        let pem = Pem::new();
        let dir = pem.dir.path();
        let config = format!(
            "[ca]\ndefault_ca=a\n[a]\ndatabase={0}/index\nnew_certs_dir={0}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n\
             x509_extensions=e\n[p]\ncommonName=supplied\n[e]\n{extensions}\n",
            dir.display()
        );
        std::fs::write(dir.join("config"), config).unwrap();
        std::fs::write(dir.join("index"), "").unwrap();
        let request = pem.request();
        openssl(&[
            &["ca", "-batch", "-notext", "-config", dir.join("config").to_str().unwrap(), "-in", &request],
            dates,
            &["-out", &pem.cert, "-cert", &self.own.cert, "-keyfile", &self.own.key],
        ]);
        pem
    }
}

const EXPIRED: [&str; 4] = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"];

impl Pem {
    fn new() -> Self {
        let dir = folder();
        let at = |name: &str| dir.path().join(name).display().to_string();
        Self { cert: at("cert.pem"), key: at("key.pem"), dir }
    }

    pub fn cert(&self) -> &str {
        &self.cert
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// Puts another one's certificate and key into these files.
    pub fn replace(&self, by: &Self) {
        for (from, to) in [(&by.cert, &self.cert), (&by.key, &self.key)] {
            let draft = Path::new(to).with_extension("new");
            std::fs::copy(from, &draft).unwrap();
            std::fs::rename(draft, to).unwrap();
        }
    }

    /// A new key, and a request for a certificate of it.
    fn request(&self) -> String {
        let request = self.dir.path().join("request.pem").display().to_string();
        openssl(&[&["req", "-subj", "/CN=factory"], &NEW_KEY, &["-keyout", &self.key, "-out", &request]]);
        request
    }
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

fn openssl(args: &[&[&str]]) {
    succeed(Command::new("openssl").args(args.concat()), b"");
}
