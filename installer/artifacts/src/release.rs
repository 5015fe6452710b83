//! Upstream's files over HTTPS, checked by the digest of the lock.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Component as PathPart, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kubezt_model::Digest;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response};

use crate::Error;
use crate::cache::Blob;
use crate::hashing::HashingWriter;

/// Fetches files. Nothing it fetched is left behind where the digest is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Downloader {
    client: Client,
    /// `https` but in tests.
    pub(crate) scheme: &'static str,
}

impl Downloader {
    /// A client that speaks HTTPS only, redirects included.
    pub(crate) fn new() -> Result<Self, Error> {
        Self::with_scheme("https")
    }

    /// For tests against a plain server on loopback.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self::with_scheme("http").unwrap()
    }

    fn with_scheme(scheme: &'static str) -> Result<Self, Error> {
        // reqwest takes the process-wide provider; where another part of the program set it, that one stays.
        let _ = Arc::new(rustls::crypto::aws_lc_rs::default_provider()).as_ref().clone().install_default();
        let client = Client::builder()
            .https_only(scheme == "https")
            .user_agent(concat!("kubezt/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(Duration::from_secs(60))
            .build()
            .map_err(Error::Client)?;
        Ok(Self { client, scheme })
    }

    /// Sends a GET request; any status is an answer.
    pub(crate) async fn get(&self, url: &str, headers: HeaderMap) -> Result<Response, Error> {
        let sent = self.client.get(url).headers(headers).send().await;
        sent.map_err(|source| Error::Download { url: url.to_owned(), source })
    }

    /// Downloads a file; `received` hears of bytes so far and in all, where the server says.
    pub(crate) async fn fetch(
        &self,
        url: &str,
        wanted: Option<Digest>,
        path: &Path,
        received: &(dyn Fn(u64, Option<u64>) + Send + Sync),
    ) -> Result<Blob, Error> {
        let response = self.get(url, HeaderMap::new()).await?;
        save(response, url, wanted, path, received).await
    }
}

/// Writes the body of a good answer to a file and checks its digest.
pub(crate) async fn save(
    mut response: Response,
    url: &str,
    wanted: Option<Digest>,
    path: &Path,
    received: &(dyn Fn(u64, Option<u64>) + Send + Sync),
) -> Result<Blob, Error> {
    let doing = || Error::file(format!("cannot keep {url}"));
    if !response.status().is_success() {
        let problem = format!("the server answered {}", response.status());
        return Err(Error::Answer { url: url.to_owned(), problem });
    }
    let total = response.content_length();
    let mut writer = HashingWriter::new(fs_err::File::create(path).map_err(doing())?);
    let mut so_far = 0;
    while let Some(chunk) =
        response.chunk().await.map_err(|source| Error::Download { url: url.to_owned(), source })?
    {
        writer.write_all(&chunk).map_err(doing())?;
        so_far += chunk.len() as u64;
        received(so_far, total);
    }
    let (_, found, size) = writer.finish();
    match wanted {
        Some(wanted) if wanted != found => {
            fs_err::remove_file(path).map_err(doing())?;
            Err(Error::WrongDigest { what: url.to_owned(), wanted, found })
        }
        _ => Ok(Blob { digest: found, size }),
    }
}

/// Takes members out of a gzipped tar: a file to a path, a folder with all it has to a folder.
///
/// # Errors
/// A member that is not there, and an archive that cannot be read.
pub(crate) fn extract(archive: &Path, members: &BTreeMap<String, PathBuf>) -> Result<(), Error> {
    let doing = || Error::file(format!("cannot unpack {}", archive.display()));
    let file = fs_err::File::open(archive).map_err(doing())?;
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(io::BufReader::new(file)));
    let mut missing: BTreeMap<PathBuf, &PathBuf> =
        members.iter().map(|(member, target)| (plain(Path::new(member)), target)).collect();
    let wanted = missing.clone();
    for entry in tar.entries().map_err(doing())? {
        let mut entry = entry.map_err(doing())?;
        let path = plain(&entry.path().map_err(doing())?);
        let Some((member, target)) = wanted.iter().find(|(member, _)| path.starts_with(member)) else {
            continue;
        };
        missing.remove(member);
        let rest = path.strip_prefix(member).unwrap_or(&path);
        if rest.components().any(|part| !matches!(part, PathPart::Normal(_)))
            || !entry.header().entry_type().is_file()
        {
            continue;
        }
        let target = if rest.as_os_str().is_empty() { (*target).clone() } else { target.join(rest) };
        if let Some(parent) = target.parent() {
            fs_err::create_dir_all(parent).map_err(doing())?;
        }
        let mut out = fs_err::File::create(target).map_err(doing())?;
        io::copy(&mut entry, &mut out).map_err(doing())?;
    }
    match missing.keys().next() {
        Some(member) => Err(Error::MemberMissing {
            archive: archive.display().to_string(),
            member: member.display().to_string(),
        }),
        None => Ok(()),
    }
}

/// A path without `.` parts: some archives say `./name`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != PathPart::CurDir).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A server on loopback that answers by path with status, extra header lines and body. Returns its address.
    pub(crate) async fn serve(answers: Vec<(String, u16, String, Vec<u8>)>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let request = String::from_utf8(request).unwrap();
                let path = request.split(' ').nth(1).unwrap();
                let authorized = request.to_ascii_lowercase().contains("authorization: bearer good");
                let found = answers
                    .iter()
                    .find(|(known, status, ..)| known == path && !(authorized && *status == 401));
                let (status, headers, body) = match found {
                    Some((_, status, headers, body)) => (*status, headers.clone(), body.clone()),
                    None => (404, String::new(), Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&body).await.unwrap();
                let _ = stream.shutdown().await;
            }
        });
        address
    }

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, content) in entries {
            let mut header = crate::layer::header(0o755);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[tokio::test]
    async fn downloads_are_kept_only_with_the_right_digest() {
        let address = serve(vec![("/file".to_owned(), 200, String::new(), b"content".to_vec())]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let url = format!("http://{address}/file");
        let downloader = Downloader::plain();
        let blob = downloader.fetch(&url, Some(Digest::of(b"content")), &path, &|_, _| {}).await.unwrap();
        assert_eq!(blob, Blob { digest: Digest::of(b"content"), size: 7 });
        assert_eq!(fs_err::read(&path).unwrap(), b"content");

        let error = downloader.fetch(&url, Some(Digest::of(b"other")), &path, &|_, _| {}).await.unwrap_err();
        assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
        assert!(!path.exists());

        let error = downloader.fetch(&format!("{url}s"), None, &path, &|_, _| {}).await.unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
    }

    #[tokio::test]
    async fn plain_http_is_never_spoken() {
        let address = serve(vec![("/file".to_owned(), 200, String::new(), Vec::new())]).await;
        // A machine without a certificate store cannot make the client at all, which refuses just as well.
        let Ok(downloader) = Downloader::new() else { return };
        let error = downloader.get(&format!("http://{address}/file"), HeaderMap::new()).await.unwrap_err();
        assert!(matches!(error, Error::Download { .. }), "{error}");
    }

    #[test]
    fn members_are_taken_out_and_missing_ones_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        let bytes =
            archive(&[("./loopback", b"program"), ("chart/a/b.yaml", b"yaml"), ("charts", b"not it")]);
        fs_err::write(&path, bytes).unwrap();
        let target = |name: &str| folder.path().join(name);
        let members = BTreeMap::from([
            ("./loopback".to_owned(), target("loopback")),
            ("chart".to_owned(), target("out")),
        ]);
        extract(&path, &members).unwrap();
        assert_eq!(fs_err::read(target("loopback")).unwrap(), b"program");
        assert_eq!(fs_err::read(target("out/a/b.yaml")).unwrap(), b"yaml");
        let error = extract(&path, &BTreeMap::from([("bin/ctr".to_owned(), target("x"))])).unwrap_err();
        assert!(error.to_string().contains("bin/ctr"), "{error}");
    }
}
