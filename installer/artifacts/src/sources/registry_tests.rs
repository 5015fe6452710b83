//! The source `oci` and a real registry: Distribution, as Debian packages it (`docker-registry`).

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubezt_model::Digest;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use tokio::net::TcpStream;

use super::tests::{digests, prepared};
use super::{OciRegistry, Origin};
use crate::error::causes;
use crate::testing::{Sample, nobody, sample};

/// Names the program; where it is not set, the search path has it.
const PROGRAM: &str = "KUBEZT_DOCKER_REGISTRY";
/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

const PREFIX: &str = "mirror/kubezt";
const PASSWORD: &str = "hunter2";
/// bcrypt of it, at the lowest cost.
const HASHED: &str = "$2b$04$9reoFL5WMVND7ZjTe1hh6.DReQ2XSSOt2JdUDqzzrRfZoGpY.7Ke2";

/// A registry that runs, until it is dropped.
struct Registry {
    address: String,
    child: Child,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one on what is in `folder`; with TLS and a password, or in the open.
    async fn start(folder: &Path, guarded: bool) -> Self {
        let address = nobody().await.to_string();
        let at = |name: &str| folder.join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\nhttp:\n  addr: \"{address}\"\n",
            at("storage")
        );
        if guarded {
            let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
            for (name, text) in [
                ("tls.crt", made.cert.pem()),
                ("tls.key", made.signing_key.serialize_pem()),
                ("htpasswd", format!("user:{HASHED}\n")),
            ] {
                fs_err::write(folder.join(name), text).unwrap();
            }
            let (certificate, key, passwords) = (at("tls.crt"), at("tls.key"), at("htpasswd"));
            write!(
                config,
                "  tls: {{certificate: \"{certificate}\", key: \"{key}\"}}\n\
                 auth: {{htpasswd: {{realm: site, path: \"{passwords}\"}}}}\n"
            )
            .unwrap();
        }
        let file = folder.join("config.yml");
        fs_err::write(&file, config).unwrap();
        let program = std::env::var_os(PROGRAM).unwrap_or_else(|| "docker-registry".into());
        let log = folder.join("log");
        let child = Command::new(&program)
            .arg("serve")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs_err::File::create(&log).unwrap().into_parts().0)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let registry = Self { address, child };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&registry.address).await.is_err() {
            let said = || fs_err::read_to_string(&log).unwrap();
            assert!(Instant::now() < deadline, "nothing listens on {}: {}", registry.address, said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        registry
    }

    fn url(&self, repository: &str, rest: &str) -> Url {
        format!("http://{}/v2/{PREFIX}/{repository}/{rest}", self.address).parse().unwrap()
    }

    /// Puts a sample there as the README says: the image where upstream has it, files and charts as the component's.
    async fn fill(&self, sample: &Sample) {
        let client = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        for (digest, bytes) in &sample.content {
            let is_ours = [sample.program, sample.chart].contains(digest);
            if !sample.documents.contains(digest) {
                let repository = if is_ours { "kubezt/sample" } else { "team/sample" };
                let begun = client.post(self.url(repository, "blobs/uploads/")).send().await.unwrap();
                let place = begun.headers()[LOCATION].to_str().unwrap();
                let mut place = self.url(repository, "blobs/uploads/").join(place).unwrap();
                place.query_pairs_mut().append_pair("digest", &format!("sha256:{digest}"));
                let put = client.put(place).body(bytes.clone()).send().await.unwrap();
                assert_eq!(put.status(), StatusCode::CREATED, "{digest}");
            }
        }
        // An index is taken once everything that it names is there.
        for digest in &sample.documents {
            let bytes = &sample.content[digest];
            let document: Value = serde_json::from_slice(bytes).unwrap();
            let url = self.url("team/sample", &format!("manifests/sha256:{digest}"));
            let put = client.put(url).header(CONTENT_TYPE, document["mediaType"].as_str().unwrap());
            let put = put.body(bytes.clone()).send().await.unwrap();
            assert_eq!(put.status(), StatusCode::CREATED, "{digest}");
        }
    }

    fn origin(&self, ca_file: Option<PathBuf>, credentials_file: Option<PathBuf>) -> Origin {
        let (host, prefix) = (self.address.clone(), PREFIX.to_owned());
        Origin::Oci(OciRegistry { host, prefix, ca_file, credentials_file })
    }
}

/// Credentials as `docker login` writes them.
fn credentials(folder: &Path, address: &str, password: &str) -> PathBuf {
    let file = folder.join("config.json");
    let auth = STANDARD.encode(format!("user:{password}"));
    fs_err::write(&file, format!(r#"{{"auths": {{"{address}": {{"auth": "{auth}"}}}}}}"#)).unwrap();
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// Where the registry keeps the content of a digest.
fn stored(folder: &Path, digest: Digest) -> PathBuf {
    let digest = digest.to_string();
    folder.join("storage/docker/registry/v2/blobs/sha256").join(&digest[..2]).join(&digest).join("data")
}

#[tokio::test]
#[ignore = "needs docker-registry, which `cargo xtask test` brings"]
async fn a_real_registry_gives_everything_by_digest() {
    let sample = sample("upstream.example");
    let (site, caches) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = |name: &str| caches.path().join(name);

    let open = Registry::start(site.path(), false).await;
    // The client that reads brings the process its TLS provider, so it comes first.
    let empty = prepared(&sample, &open.origin(None, None), &cache("empty")).await.unwrap_err();
    assert!(causes(&empty).contains("404"), "{}", causes(&empty));
    open.fill(&sample).await;
    let (first, _) = prepared(&sample, &open.origin(None, None), &cache("open")).await.unwrap();
    assert_eq!(first.node_files[0].digest, sample.program);
    drop(open);

    let guarded = Registry::start(site.path(), true).await;
    let authority = Some(site.path().join("tls.crt"));
    let file = credentials(site.path(), &guarded.address, PASSWORD);
    let origin = guarded.origin(authority.clone(), Some(file));
    let (second, _) = prepared(&sample, &origin, &cache("guarded")).await.unwrap();
    assert_eq!(digests(&second), digests(&first));

    let refused = async |origin: Origin, said: &str| {
        let error = causes(&prepared(&sample, &origin, &cache("refused")).await.unwrap_err());
        assert!(error.contains(said) && !error.contains("swordfish"), "{error}");
    };
    refused(guarded.origin(authority.clone(), None), "registryCredentialsFile").await;
    let file = credentials(site.path(), &guarded.address, "swordfish");
    refused(guarded.origin(authority.clone(), Some(file)), "refuses the credentials of").await;
    let file = credentials(site.path(), &guarded.address, PASSWORD);
    let strange = site.path().join("strange.crt");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs_err::write(&strange, other.cert.pem()).unwrap();
    refused(guarded.origin(Some(strange), Some(file.clone())), "certificate").await;

    // A disk that rots below the registry, which serves what it reads.
    fs_err::write(stored(site.path(), sample.layer), b"LAYER of amd64").unwrap();
    let layer = sample.layer.to_string();
    refused(guarded.origin(authority, Some(file)), &layer).await;
}
