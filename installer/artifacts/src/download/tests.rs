use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::testing::{Reply, Request, files_below, nobody, serve, serve_tls};

/// Long enough to be more than a loopback connection takes in one go.
fn content() -> Vec<u8> {
    (0..3_000_000_u32).map(|index| (index % 251) as u8).collect()
}

fn hurried() -> Patience {
    Patience {
        pause: Duration::from_millis(5),
        longest: Duration::from_secs(2),
        tries: 3,
        ..Patience::default()
    }
}

/// One file, fetched from a server that is asked again and again: what came of it, what was asked, what was heard.
struct Story {
    result: Result<Vec<u8>, Error>,
    /// `Range` and `If-Range` of every request.
    asked: Vec<(usize, Option<String>)>,
    heard: Vec<Step>,
    left: usize,
}

impl Story {
    fn error(&self) -> String {
        causes(self.result.as_ref().unwrap_err())
    }

    fn again(&self) -> usize {
        self.heard.iter().filter(|step| matches!(step, Step::Again { .. })).count()
    }
}

/// `answer` is given the number of the request, from 0.
async fn story(
    expected: Expected,
    answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
) -> Story {
    story_with(hurried(), expected, answer).await
}

async fn story_with(
    patience: Patience,
    expected: Expected,
    answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
) -> Story {
    let asked: Arc<Mutex<Vec<_>>> = Arc::default();
    let known = asked.clone();
    let address = serve(move |request| {
        let mut asked = known.lock().unwrap();
        asked.push((request.offset(), request.header("if-range").map(str::to_owned)));
        answer(asked.len() - 1, &request)
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let heard = Mutex::new(Vec::new());
    let downloader = Downloader::with_patience(&Trust::Loopback, patience).unwrap();
    let watch = |step| heard.lock().unwrap().push(step);
    let url = format!("http://{address}/file");
    let result = downloader.fetch(&url, &HeaderMap::new(), expected, &path, &watch).await;
    let result = result.map(|blob| {
        let bytes = fs_err::read(&path).unwrap();
        assert_eq!((blob.digest, blob.size), (Digest::of(&bytes), bytes.len() as u64));
        fs_err::remove_file(&path).unwrap();
        bytes
    });
    let asked = asked.lock().unwrap().clone();
    Story { result, asked, heard: heard.into_inner().unwrap(), left: files_below(folder.path()).len() }
}

fn pinned(bytes: &[u8]) -> Expected {
    Expected { digest: Some(Digest::of(bytes)), size: Size::AtMost(MOST) }
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let bytes = content();
    let served = bytes.clone();
    let story = story(pinned(&bytes), move |number, request| {
        let reply = Reply::part(request, &served).with("ETag", "\"one\"");
        if number < 2 { reply.cut(1_000_000) } else { reply }
    })
    .await;
    assert!(story.result.as_ref().unwrap() == &bytes && story.left == 0);
    let tag = Some("\"one\"".to_owned());
    assert_eq!(story.asked, [(0, None), (1_000_000, tag.clone()), (2_000_000, tag)]);
    assert!(story.heard.contains(&Step::Received { bytes: 3_000_000, total: Some(3_000_000) }));
}

#[tokio::test]
async fn a_server_that_ignores_ranges_or_has_another_version_by_now_is_read_from_the_start() {
    let bytes = content();
    let served = bytes.clone();
    let story = story(pinned(&bytes), move |number, _| match number {
        // A weak tag says nothing about bytes.
        0 => Reply::ok(&[7; 2_000]).with("ETag", "W/\"old\"").cut(1_000),
        _ => Reply::ok(&served),
    })
    .await;
    assert_eq!(story.result.unwrap(), bytes);
    assert_eq!(story.asked, [(0, None), (1_000, None)]);
}

#[tokio::test]
async fn two_versions_that_were_put_together_are_noticed_and_read_anew() {
    let bytes = content();
    let served = bytes.clone();
    let story = story(pinned(&bytes), move |number, request| match number {
        0 => Reply::ok(&vec![7; served.len()]).cut(1_000),
        _ => Reply::part(request, &served),
    })
    .await;
    assert_eq!(story.result.unwrap(), bytes);
    assert_eq!(story.asked, [(0, None), (1_000, None), (0, None)]);
}

#[tokio::test]
async fn another_part_than_was_asked_for_is_not_used() {
    let bytes = content();
    let other = || Reply::status(206).with("Content-Range", "bytes 5-9/10");
    for odd in [other, || Reply::status(416)] {
        let served = bytes.clone();
        let story = story(pinned(&bytes), move |number, _| match number {
            0 => Reply::ok(&served).cut(1_000),
            1 => odd(),
            _ => Reply::ok(&served),
        })
        .await;
        assert_eq!(story.result.unwrap(), bytes);
        assert_eq!(story.asked, [(0, None), (1_000, None), (0, None)]);
    }
    assert_eq!(part_from(&range("bytes 5-9/10"), 5), Some(Some(10)));
    assert_eq!(part_from(&range("bytes 5-9/*"), 5), Some(None));
    for other in ["bytes 4-9/10", "bytes 5-8/10", "bytes */10", "lines 5-9/10"] {
        assert_eq!(part_from(&range(other), 5), None, "{other}");
    }
}

fn range(text: &str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_str(text).unwrap())])
}

#[tokio::test]
async fn changed_bytes_are_refused_at_once_and_nothing_is_left() {
    let story = story(pinned(b"right"), |_, _| Reply::ok(b"wrong")).await;
    let error = story.error();
    assert!(matches!(story.result, Err(Error::WrongDigest { .. })), "{error}");
    assert!(error.contains("/file") && error.contains(&Digest::of(b"right").to_string()), "{error}");
    assert_eq!((story.asked.len(), story.left), (1, 0));
}

#[tokio::test]
async fn a_connection_that_stalls_is_left_and_taken_up_again() {
    let bytes = content();
    let served = bytes.clone();
    // Long enough for a busy machine to answer in between.
    let patience = Patience { stall: Duration::from_secs(3), ..hurried() };
    let lively = story_with(patience, pinned(&bytes), move |number, request| {
        let reply = Reply::part(request, &served);
        if number == 0 { reply.stall(5_000) } else { reply }
    })
    .await;
    assert_eq!((lively.asked[1].0, lively.result.unwrap()), (5_000, bytes));

    let patience = Patience { stall: Duration::from_millis(300), ..hurried() };
    let dead = story_with(patience, pinned(b"right"), |_, _| Reply::ok(b"right").stall(0)).await;
    assert!(matches!(dead.result, Err(Error::GaveUp { tries: 3, .. })), "{}", dead.error());
    assert!(
        dead.error().contains("/file") && dead.error().contains("running the same command again"),
        "{}",
        dead.error()
    );
    assert_eq!((dead.again(), dead.left), (2, 0));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says_within_reason() {
    for status in [429, 500, 503] {
        let story = story(pinned(b"right"), move |number, _| match number {
            0 => Reply::status(status).with("Retry-After", "1"),
            _ => Reply::ok(b"right"),
        })
        .await;
        assert_eq!(story.result.as_deref().unwrap(), b"right", "{status}");
        let Step::Again { problem, wait } = &story.heard[0] else { panic!("{:?}", story.heard) };
        assert!(
            problem.contains(&status.to_string()) && *wait == Duration::from_secs(1),
            "{problem}, {wait:?}"
        );
    }
    let busy = story(pinned(b"right"), |_, _| Reply::status(503).with("Retry-After", "3600")).await;
    assert!(matches!(busy.result, Err(Error::AskedToWait { seconds: 3600, .. })), "{}", busy.error());
    assert_eq!(busy.asked.len(), 1);
    let broken = story(pinned(b"right"), |_, _| Reply::status(502)).await;
    assert!(broken.error().contains("502") && broken.asked.len() == 3, "{}", broken.error());
}

#[test]
fn a_server_may_say_until_when_by_its_own_clock() {
    let headers = |asked: &str, date: Option<&str>| {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(asked).unwrap())]);
        headers.extend(date.map(|date| (DATE, HeaderValue::from_str(date).unwrap())));
        retry_after(&headers)
    };
    let noon = Some("Sun, 06 Nov 1994 12:00:00 GMT");
    assert_eq!(headers("7", noon), Some(Duration::from_secs(7)));
    assert_eq!(headers("Sun, 06 Nov 1994 12:01:30 GMT", noon), Some(Duration::from_secs(90)));
    assert_eq!(headers("Sun, 06 Nov 1994 11:00:00 GMT", noon), Some(Duration::ZERO));
    assert_eq!(headers("Sun, 06 Nov 1994 12:01:30 GMT", None), None);
    assert_eq!(headers("soon", noon), None);
}

#[tokio::test]
async fn no_more_is_read_than_can_be_right() {
    let exactly = |size| Expected { digest: Some(Digest::of(b"right")), size: Size::Exactly(size) };
    let said = story(exactly(5), |_, _| Reply::ok(&content()).stall(0)).await;
    assert!(matches!(said.result, Err(Error::WrongSize { .. })), "{}", said.error());
    assert!(said.error().contains("3000000 bytes") && said.error().contains("5 bytes"), "{}", said.error());

    let unsaid = story(exactly(5), |_, _| Reply::ok(&content()).chunked()).await;
    assert!(unsaid.error().contains("more than 5 bytes"), "{}", unsaid.error());
    let bounded = Expected { digest: None, size: Size::AtMost(4) };
    let bounded = story(bounded, |_, _| Reply::ok(b"right").chunked()).await;
    assert!(bounded.error().contains("at most 4 bytes"), "{}", bounded.error());

    let short = story(exactly(9), |_, _| Reply::ok(b"right").chunked()).await;
    assert!(short.error().contains("ended after 5 of 9 bytes"), "{}", short.error());
    for story in [said, unsaid, bounded, short] {
        assert_eq!(story.left, 0);
    }
}

#[tokio::test]
async fn a_file_that_never_ends_has_an_end() {
    let patience = Patience { total: Duration::from_millis(400), ..hurried() };
    let story = story_with(patience, pinned(b"right"), |_, _| Reply::ok(&content()).trickle()).await;
    assert!(matches!(story.result, Err(Error::TooSlow { .. })), "{}", story.error());
    assert_eq!(story.left, 0);
}

#[tokio::test]
async fn what_is_not_there_is_not_asked_for_again_and_a_refused_connection_is() {
    let missing = story(pinned(b"right"), |_, _| Reply::status(404)).await;
    assert!(missing.error().contains("404") && missing.asked.len() == 1, "{}", missing.error());

    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/file", nobody().await);
    let downloader = Downloader::with_patience(&Trust::Loopback, hurried()).unwrap();
    let tried = AtomicUsize::new(1);
    let watch = |_| {
        tried.fetch_add(1, Ordering::Relaxed);
    };
    let path = folder.path().join("file");
    let error = downloader.fetch(&url, &HeaderMap::new(), pinned(b""), &path, &watch).await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { tries: 3, .. }), "{error}");
    assert_eq!(tried.into_inner(), 3);
}

#[tokio::test]
async fn plain_http_is_spoken_to_loopback_addresses_only() {
    let refused = async |downloader: Downloader, url: &str| {
        let folder = tempfile::tempdir().unwrap();
        let (headers, path) = (HeaderMap::new(), folder.path().join("a"));
        let fetched = downloader.fetch(url, &headers, pinned(b""), &path, &|_| {}).await;
        causes(&fetched.unwrap_err())
    };
    let plain = || Downloader::with_patience(&Trust::Loopback, hurried()).unwrap();
    for url in
        ["http://192.0.2.1/a", "http://localhost/a", "http://127.0.0.1.example/a", "ftp://127.0.0.1/a", "a"]
    {
        let error = refused(plain(), url).await;
        assert!(error.contains("loopback addresses only"), "{url}: {error}");
    }
    let address = serve(|_| Reply::status(302).with("Location", "http://192.0.2.1/?signature=hunter2")).await;
    let error = refused(plain(), &format!("http://{address}/a")).await;
    assert!(error.contains("redirected to plain HTTP") && !error.contains("hunter2"), "{error}");
    // A machine without a certificate store cannot make this client at all, which refuses just as well.
    if let Ok(secure) = Downloader::with_patience(&Trust::System, hurried()) {
        let error = refused(secure, &format!("http://{address}/a")).await;
        assert!(error.contains("loopback addresses only"), "{error}");
    }
}

#[tokio::test]
async fn a_server_is_believed_by_the_authorities_of_the_file_and_by_no_others() {
    let (address, certificate) = serve_tls(|_| Reply::ok(b"right")).await;
    let (_, other) = serve_tls(|_| Reply::ok(b"right")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let path = folder.path().join("file");
    let url = format!("https://{address}/file");
    for (authorities, believed) in [(certificate.as_str(), true), (other.as_str(), false)] {
        fs_err::write(&file, authorities).unwrap();
        let downloader = Downloader::with_patience(&Trust::Authorities(file.clone()), hurried()).unwrap();
        let heard = Mutex::new(Vec::new());
        let watch = |step| heard.lock().unwrap().push(step);
        let fetched = downloader.fetch(&url, &HeaderMap::new(), pinned(b"right"), &path, &watch).await;
        match fetched {
            Ok(_) => assert!(believed),
            Err(error) => {
                assert!(!believed && matches!(error, Error::Untrusted { .. }), "{}", causes(&error));
                assert!(error.to_string().contains("registryCaFile"), "{error}");
                assert_eq!(*heard.lock().unwrap(), [], "waiting would not mend it");
            }
        }
    }
    fs_err::write(&file, "nothing").unwrap();
    let error = Downloader::with_patience(&Trust::Authorities(file), hurried()).unwrap_err();
    assert!(matches!(error, Error::Authorities { .. }) && error.to_string().contains("ca.pem"), "{error}");
}

#[tokio::test]
async fn answers_that_are_read_into_memory_are_bounded_and_tried_again_too() {
    let number = AtomicUsize::new(0);
    let address = serve(move |_| match number.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::status(503),
        _ => Reply::ok(b"right"),
    })
    .await;
    let downloader = Downloader::with_patience(&Trust::Loopback, hurried()).unwrap();
    let url = format!("http://{address}/token");
    assert_eq!(downloader.read(&url, &HeaderMap::new(), 5, &|_| {}).await.unwrap(), b"right");
    let error = downloader.read(&url, &HeaderMap::new(), 4, &|_| {}).await.unwrap_err();
    assert!(matches!(error, Error::WrongSize { .. }), "{error}");
}
