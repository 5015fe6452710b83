//! The same components from a registry and from a folder, as a cluster wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kubezt_model::Digest;

use super::*;
use crate::cache::Cache;
use crate::error::{Found, causes};
use crate::prepare::Run;
use crate::prepare::component::One;
use crate::testing::{ARCHITECTURE, Sample, files_below, nobody, registry, sample, serve};
use crate::{Catalogue, Extent, Prepared, Progress, Wanted, export, prepare};

const UPSTREAM: &str = "upstream.example";

fn site(address: &str, prefix: &str) -> Origin {
    let (host, prefix) = (address.to_owned(), prefix.to_owned());
    Origin::Oci(OciRegistry { host, prefix, ca_file: None, credentials_file: None })
}

pub(super) async fn prepared(
    sample: &Sample,
    origin: &Origin,
    cache: &Path,
) -> Result<(Prepared, Vec<Progress>), Error> {
    let heard = Mutex::new(Vec::new());
    let wanted = Wanted { components: &["sample"], extent: Extent::Everything };
    let progress = |progress| heard.lock().unwrap().push(progress);
    let prepared = prepare(&sample.catalogue, origin, ARCHITECTURE, wanted, cache, &progress).await?;
    Ok((prepared, heard.into_inner().unwrap()))
}

/// Digests of all that was prepared.
pub(super) fn digests(prepared: &Prepared) -> Vec<Digest> {
    let files = prepared.node_files.iter().map(|file| file.digest);
    let images = prepared.images.iter().map(|image| image.digest);
    files.chain(images).chain(prepared.tools.values().map(|tool| tool.digest)).collect()
}

/// A registry with a sample's content, and what was asked of it.
async fn serving(content: BTreeMap<Digest, Vec<u8>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let known = asked.clone();
    let address = serve(move |request| {
        known.lock().unwrap().push(request.path.clone());
        registry(&content, &request)
    })
    .await;
    (address, asked)
}

#[tokio::test]
async fn a_registry_gives_everything_by_digest() {
    let sample = sample(UPSTREAM);
    let (address, asked) = serving(sample.content.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let origin = site(&address, "mirror/kubezt");
    let (first, _) = prepared(&sample, &origin, folder.path()).await.unwrap();
    assert_eq!(first.node_files[0].digest, sample.program);
    assert_eq!(first.images[0].reference, "upstream.example/team/sample:v1.2.3");
    let asked_for = asked.lock().unwrap().clone();
    for (part, digest) in [
        ("mirror/kubezt/kubezt/sample/blobs", sample.program),
        ("mirror/kubezt/kubezt/sample/blobs", sample.chart),
        ("mirror/kubezt/team/sample/manifests", sample.documents[2]),
        ("mirror/kubezt/team/sample/manifests", sample.documents[1]),
        ("mirror/kubezt/team/sample/blobs", sample.layer),
    ] {
        let wanted = format!("/v2/{part}/sha256:{digest}");
        assert!(asked_for.contains(&wanted), "{wanted}: {asked_for:?}");
    }
    assert!(asked_for.iter().all(|path| path.contains("sha256:")), "{asked_for:?}");

    let (second, heard) = prepared(&sample, &origin, folder.path()).await.unwrap();
    assert_eq!((second, heard), (first, Vec::new()));
    assert_eq!(asked.lock().unwrap().len(), asked_for.len(), "what is cached is not asked for");
}

#[tokio::test]
async fn a_registry_that_changed_or_lacks_something_gives_nothing() {
    let sample = sample(UPSTREAM);
    let folder = tempfile::tempdir().unwrap();
    let failing = async |digest: Digest, content: Option<&[u8]>| {
        let mut served = sample.content.clone();
        match content {
            Some(bytes) => served.insert(digest, bytes.to_vec()),
            None => served.remove(&digest),
        };
        let origin = site(&serving(served).await.0, "");
        causes(&prepared(&sample, &origin, folder.path()).await.unwrap_err())
    };
    let error = failing(sample.layer, Some(b"LAYER of amd64")).await;
    assert!(error.contains(&sample.layer.to_string()) && error.contains("nothing of it was kept"), "{error}");
    let error = failing(sample.layer, Some(b"longer than it was")).await;
    assert!(error.contains("18 bytes, but 14 bytes"), "{error}");
    let error = failing(sample.documents[1], None).await;
    assert!(error.contains("404") && error.contains("/v2/team/sample/manifests/"), "{error}");
    let blobs = files_below(&folder.path().join("blobs"));
    assert!(!blobs.iter().any(|path| path.ends_with(sample.layer.to_string())), "{blobs:?}");
}

#[tokio::test]
async fn release_pulls_an_image_of_upstreams_registry_where_the_lock_has_it() {
    let content = sample(UPSTREAM).content;
    let address = serve(move |request| registry(&content, &request)).await;
    let sample = sample(&address);
    let folder = tempfile::tempdir().unwrap();
    let release = release::Release::plain();
    let reference = format!("{address}/team/sample:v1.2.3");
    let pulled = |architecture| {
        crate::pull::pull(&release, &reference, sample.documents[2], architecture, folder.path(), &|_| {})
    };
    let (archive, blob) = pulled(ARCHITECTURE).await.unwrap();
    let bytes = fs_err::read(archive).unwrap();
    assert_eq!(blob.digest, Digest::of(&bytes));
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let names: Vec<_> = names.collect();
    for wanted in ["index.json".to_owned(), format!("blobs/sha256/{}", sample.layer)] {
        assert!(names.contains(&wanted), "{names:?}");
    }
}

/// A folder that was filled from a registry.
async fn filled(sample: &Sample) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let (address, asked) = serving(sample.content.clone()).await;
    let (folder_path, cache) = (folder.path(), cache.path());
    let origin = site(&address, "");
    let exported =
        || export(&sample.catalogue, &origin, ARCHITECTURE, &["sample"], cache, folder_path, &|_| {});
    let first = exported().await.unwrap();
    let listed: Vec<_> = first.0.keys().map(|path| folder_path.join(path)).collect();
    assert_eq!(files_below(folder_path), listed, "everything is listed, and nothing else is there");
    for (path, digest) in &first.0 {
        assert_eq!(Digest::of(&fs_err::read(folder_path.join(path)).unwrap()), *digest, "{path}");
    }
    let requests = asked.lock().unwrap().len();
    fs_err::write(&listed[0], b"damaged").unwrap();
    assert_eq!(exported().await.unwrap(), first);
    assert_eq!(asked.lock().unwrap().len(), requests + 1, "what is there and right is not asked for again");
    folder
}

#[tokio::test]
async fn a_folder_is_all_that_has_to_be_carried_over() {
    let sample = sample(UPSTREAM);
    let folder = filled(&sample).await;
    let caches = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let origin = Origin::Directory(folder.path().to_owned());
    let (from_folder, heard) = prepared(&sample, &origin, caches[0].path()).await.unwrap();
    assert!(
        heard.contains(&Progress::Started { component: "sample".to_owned(), what: "copy".to_owned() }),
        "{heard:?}"
    );
    let (address, _) = serving(sample.content.clone()).await;
    let (from_registry, _) = prepared(&sample, &site(&address, ""), caches[1].path()).await.unwrap();
    assert_eq!(digests(&from_folder), digests(&from_registry));
    assert_eq!(digests(&from_folder).len(), 3);

    // What is cached needs neither the folder nor another source.
    fs_err::remove_dir_all(folder.path()).unwrap();
    for origin in [origin, Origin::Release] {
        assert_eq!(prepared(&sample, &origin, caches[0].path()).await.unwrap().0, from_folder);
    }
}

#[tokio::test]
async fn everything_that_a_folder_lacks_is_said_at_once_and_nothing_is_used() {
    let sample = sample(UPSTREAM);
    let folder = filled(&sample).await;
    let cache = tempfile::tempdir().unwrap();
    let image = folder.path().join("images/upstream.example/team/sample");
    let program = folder.path().join("files/sample-1.2.3/amd64/sample");
    fs_err::write(&program, b"damaged").unwrap();
    fs_err::remove_file(folder.path().join("charts/sample-chart-1.2.3.tar")).unwrap();
    fs_err::remove_file(image.join(sample.layer.to_string())).unwrap();
    fs_err::create_dir(image.join(sample.layer.to_string())).unwrap();
    let origin = Origin::Directory(folder.path().to_owned());
    let error = prepared(&sample, &origin, cache.path()).await.unwrap_err();
    let text = error.to_string();
    let Error::Folder { problems, .. } = error else { panic!("{text}") };
    let found: Vec<_> = problems.iter().map(|problem| (problem.wanted, problem.found.clone())).collect();
    let wanted = [
        (sample.chart, Found::Missing),
        (sample.program, Found::Other(Digest::of(b"damaged"))),
        (sample.layer, Found::Unreadable("it is not a file".to_owned())),
    ];
    assert_eq!(found, wanted);
    for part in [
        "charts/sample-chart-1.2.3.tar".to_owned(),
        format!("files/sample-1.2.3/amd64/sample: wanted sha256:{}, got sha256:", sample.program),
        "kubezt images export".to_owned(),
        folder.path().display().to_string(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert_eq!(files_below(&cache.path().join("blobs")), Vec::<PathBuf>::new());

    let nowhere = Origin::Directory(folder.path().join("nowhere"));
    let error = prepared(&sample, &nowhere, cache.path()).await.unwrap_err();
    let Error::Folder { problems, .. } = error else { panic!("{error}") };
    assert_eq!(problems.len(), 3, "the index leads no further");
    // Where tools alone are wanted, what will be wanted next is told too.
    let wanted = Wanted { components: &["sample"], extent: Extent::Tools };
    let tools = prepare(&sample.catalogue, &nowhere, ARCHITECTURE, wanted, cache.path(), &|_| {}).await;
    let Err(Error::Folder { problems: told, .. }) = tools else { panic!("{tools:?}") };
    assert_eq!(told, problems);
    // So is what a folder cannot hand on.
    let other = cache.path().join("other");
    let handed =
        export(&sample.catalogue, &nowhere, ARCHITECTURE, &["sample"], cache.path(), &other, &|_| {});
    let Err(Error::Folder { problems: told, .. }) = handed.await else { panic!("it was handed on") };
    assert!(told == problems && !other.exists());
}

#[test]
fn everything_that_clusters_have_is_pinned_and_has_a_path_of_its_own() {
    let catalogue = Catalogue::embedded().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut paths = BTreeSet::new();
    for architecture in [Architecture::Amd64, Architecture::Arm64] {
        let supply = Supply::Pinned(Box::new(Directory::new(folder.path())));
        let cache = Cache::open(folder.path()).unwrap();
        let run = Run::new(cache, Extent::Everything, supply, architecture, &|_| {});
        for name in catalogue.installed() {
            let one = One { run: &run, component: catalogue.component(name).unwrap(), architecture };
            let (files, charts) = (one.program_items().unwrap(), one.chart_items());
            let images = one.image_items().count();
            assert!(files.len() + charts.len() + images > 0, "{name}");
            assert!(files.iter().chain(&charts).all(|item| item.digest().is_some()), "{name}");
            for file in files {
                assert!(paths.insert(file.path()), "{} is there twice", file.path());
            }
        }
    }
}

#[tokio::test]
async fn what_is_compiled_fills_no_folder() {
    let sample = sample(UPSTREAM);
    let folder = tempfile::tempdir().unwrap();
    for origin in [Origin::Source, Origin::Auto(Choice::default())] {
        let exported =
            export(&sample.catalogue, &origin, ARCHITECTURE, &[], folder.path(), folder.path(), &|_| {});
        assert!(matches!(exported.await, Err(Error::NotPinned)));
    }
}

#[tokio::test]
async fn auto_compiles_where_upstream_is_out_of_reach_and_says_why_once() {
    let sample = sample(&nobody().await.to_string());
    let folder = tempfile::tempdir().unwrap();
    let heard = Mutex::new(Vec::new());
    let origin = Origin::Auto(Choice::default());
    for _ in 0..2 {
        let wanted = Wanted { components: &["sample"], extent: Extent::Tools };
        let progress = |progress| heard.lock().unwrap().push(progress);
        // No module can be had either, which is the compiler's concern.
        prepare(&sample.catalogue, &origin, ARCHITECTURE, wanted, folder.path(), &progress)
            .await
            .unwrap_err();
    }
    let heard = heard.into_inner().unwrap();
    let chosen: Vec<_> =
        heard.iter().filter(|progress| matches!(progress, Progress::Chosen { .. })).collect();
    let [Progress::Chosen { source, why }] = chosen.as_slice() else { panic!("{heard:?}") };
    assert_eq!(*source, ArtifactSource::Source);
    assert!(why.contains("does not answer") || why.contains("certificate store"), "{why}");
}

#[tokio::test]
async fn auto_takes_the_release_where_all_of_it_is_cached() {
    let sample = sample(UPSTREAM);
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = serving(sample.content.clone()).await;
    let (first, _) = prepared(&sample, &site(&address, ""), folder.path()).await.unwrap();
    let (second, heard) = prepared(&sample, &Origin::Auto(Choice::default()), folder.path()).await.unwrap();
    assert_eq!(first, second);
    let [Progress::Chosen { source: ArtifactSource::Release, why }] = heard.as_slice() else {
        panic!("{heard:?}")
    };
    assert!(why.contains("in the cache"), "{why}");
}

#[tokio::test]
async fn a_cut_pull_goes_on_and_people_hear_of_it() {
    let sample = sample(UPSTREAM);
    let content = sample.content.clone();
    let cuts = AtomicUsize::new(0);
    let layer = sample.layer.to_string();
    let address = serve(move |request| {
        let reply = registry(&content, &request);
        let cut = request.path.contains(&layer) && cuts.fetch_add(1, Ordering::Relaxed) == 0;
        if cut { reply.cut(3) } else { reply }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (_, heard) = prepared(&sample, &site(&address, ""), folder.path()).await.unwrap();
    let again = heard.iter().find_map(|progress| match progress {
        Progress::Again { component, problem, seconds } => Some((component, problem, *seconds)),
        _ => None,
    });
    let (component, problem, seconds) = again.unwrap();
    assert!(component == "sample" && problem.contains(&address) && seconds == 1.0, "{problem}");
}

#[test]
fn settings_become_an_origin_and_mistakes_do_not() {
    let path = |text: &str| Path::new("/site").join(text);
    let origin = |text: &str| Origin::new(&kubezt_model::yaml::read("a", text).unwrap(), &path);
    let Origin::Directory(folder) = origin("{source: directory, directory: media}").unwrap() else {
        panic!()
    };
    assert_eq!(folder, Path::new("/site/media"));
    let registry = origin("{source: oci, registry: \"a.example:5000/b/c\", registryCaFile: ca.pem}").unwrap();
    let Origin::Oci(registry) = registry else { panic!() };
    assert_eq!((registry.host.as_str(), registry.prefix.as_str()), ("a.example:5000", "b/c"));
    assert_eq!(registry.ca_file.as_deref(), Some(Path::new("/site/ca.pem")));
    let error = origin("{source: oci, directory: media}").unwrap_err().to_string();
    assert!(
        error.contains("`artifacts.directory`") && error.contains("needs `artifacts.registry`"),
        "{error}"
    );
}

/// Debian's package `docker-registry`, where it is installed.
const REGISTRY: &str = "/usr/bin/docker-registry";

#[tokio::test]
async fn a_registry_that_others_wrote_is_understood() {
    if !Path::new(REGISTRY).exists() {
        println!("left out: there is no {REGISTRY} on this machine (Debian package docker-registry)");
        return;
    }
    let sample = sample(UPSTREAM);
    let folder = tempfile::tempdir().unwrap();
    let address = nobody().await.to_string();
    let config = folder.path().join("config.yml");
    let root = folder.path().join("storage");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
        root.display()
    );
    fs_err::write(&config, text).unwrap();
    let mut server = tokio::process::Command::new(REGISTRY);
    server.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let _server = server.spawn().unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let base = format!("http://{address}/v2");
    let began = Instant::now();
    while client.get(format!("{base}/")).send().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "{REGISTRY} does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (repository, manifests) in [("site/team/sample", true), ("site/kubezt/sample", false)] {
        for (digest, bytes) in sample.content.iter().filter(|(digest, _)| !sample.documents.contains(digest))
        {
            let begun = client.post(format!("{base}/{repository}/blobs/uploads/")).send().await.unwrap();
            let location = begun.headers()["location"].to_str().unwrap();
            let mut url = reqwest::Url::parse(&base).unwrap().join(location).unwrap();
            url.query_pairs_mut().append_pair("digest", &format!("sha256:{digest}"));
            let put = client.put(url).body(bytes.clone()).send().await.unwrap();
            assert_eq!(put.status(), 201, "{repository} {digest}");
        }
        for digest in sample.documents.iter().filter(|_| manifests) {
            let bytes = &sample.content[digest];
            let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let put = client
                .put(format!("{base}/{repository}/manifests/sha256:{digest}"))
                .header("Content-Type", document["mediaType"].as_str().unwrap())
                .body(bytes.clone());
            assert_eq!(put.send().await.unwrap().status(), 201, "{repository} {digest}");
        }
    }
    let (found, _) = prepared(&sample, &site(&address, "site"), &folder.path().join("cache")).await.unwrap();
    assert_eq!(found.node_files[0].digest, sample.program);
    assert_eq!(found.images.len() + found.tools.len(), 2);
}
