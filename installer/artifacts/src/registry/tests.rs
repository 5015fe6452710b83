use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubezt_model::Digest;

use super::*;
use crate::error::causes;
use crate::testing::{Reply, Request, serve, serve_tls};

const BLOB: &[u8] = b"content";
const PASSWORD: &str = "hunter2";

/// What a registry wants to see.
#[derive(Clone, Copy)]
enum Wants {
    Nothing,
    /// A token that anybody gets.
    Token,
    /// A token for those with a password.
    PasswordForToken,
    Password,
}

fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("user:{password}")))
}

fn answer(wants: Wants, token_server: &str, request: &Request) -> Reply {
    let wanted = match wants {
        Wants::Nothing => return Reply::ok(BLOB),
        Wants::Token | Wants::PasswordForToken => "Bearer good".to_owned(),
        Wants::Password => basic(PASSWORD),
    };
    let challenge = match wants {
        Wants::Password => "basic realm=\"a\"".to_owned(),
        _ => format!(
            "Bearer realm=\"http://{token_server}/token?account=a\",service=\"a b\",scope=\"repository:team/a:pull\""
        ),
    };
    match request.header("authorization") {
        Some(shown) if shown == wanted => Reply::ok(BLOB),
        // A client that shows what nobody asked for is caught here.
        Some(shown) if !shown.starts_with("Bearer") && !matches!(wants, Wants::Password) => {
            Reply::status(400)
        }
        _ => Reply::status(401).with("WWW-Authenticate", &challenge),
    }
}

async fn registry(wants: Wants) -> String {
    let token_server = serve(move |request| {
        let shown = request.header("authorization");
        let asked = request.path == "/token?account=a&service=a+b&scope=repository%3Ateam%2Fa%3Apull";
        match wants {
            _ if !asked => Reply::status(400),
            Wants::Token if shown.is_none() => Reply::ok(br#"{"token": "good"}"#),
            Wants::PasswordForToken if shown == Some(&basic(PASSWORD)) => {
                Reply::ok(br#"{"access_token": "good"}"#)
            }
            _ => Reply::status(401),
        }
    })
    .await;
    serve(move |request| answer(wants, &token_server, &request)).await
}

/// Fetches the blob of a registry with this password, or none.
async fn fetched(address: &str, trust: Trust, password: Option<&str>) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let auth = STANDARD.encode(format!("user:{}", password.unwrap_or_default()));
    fs_err::write(&file, format!(r#"{{"auths": {{"{address}": {{"auth": "{auth}"}}}}}}"#)).unwrap();
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let registries = Registries::new(trust, password.map(|_| file));
    let path = folder.path().join("blob");
    let digest = Digest::of(BLOB);
    let item = Item::Blob { reference: "upstream.example/a:1".to_owned(), digest, size: BLOB.len() as u64 };
    // Twice: what let kubezt in once is shown from then on.
    for _ in 0..2 {
        let fetched = registries.fetch(address, "team/a", &item, &path, &|_| {}).await;
        fetched.map_err(|error| causes(&error))?;
        assert_eq!(fs_err::read(&path).unwrap(), BLOB);
    }
    let debug = format!("{registries:?}");
    assert!(!debug.contains("good") && !debug.contains(&STANDARD.encode("user:hunter2")), "{debug}");
    Ok(())
}

#[tokio::test]
async fn a_registry_gets_what_it_asks_for_and_nothing_before() {
    for (wants, password) in [
        (Wants::Nothing, None),
        (Wants::Nothing, Some(PASSWORD)),
        (Wants::Token, None),
        (Wants::PasswordForToken, Some(PASSWORD)),
        (Wants::Password, Some(PASSWORD)),
    ] {
        fetched(&registry(wants).await, Trust::Loopback, password).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_do_and_no_password() {
    for wants in [Wants::PasswordForToken, Wants::Password] {
        let address = registry(wants).await;
        let error = fetched(&address, Trust::Loopback, None).await.unwrap_err();
        assert!(error.contains("registryCredentialsFile") && error.contains(&address), "{error}");
        let error = fetched(&address, Trust::Loopback, Some("swordfish")).await.unwrap_err();
        assert!(error.contains("refuses the credentials of") && error.contains("config.json"), "{error}");
        assert!(
            !error.contains("swordfish") && !error.contains(&STANDARD.encode("user:swordfish")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_token_that_expired_is_had_anew() {
    let address: Arc<std::sync::OnceLock<String>> = Arc::default();
    let issued = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (known, count) = (address.clone(), issued.clone());
    let server = serve(move |request| {
        let issued = || count.load(std::sync::atomic::Ordering::Relaxed);
        if request.path.starts_with("/token") {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Reply::ok(format!(r#"{{"token": "token{}"}}"#, issued()).as_bytes());
        }
        let newest = format!("Bearer token{}", issued());
        let expired = request.path.contains(&Digest::of(b"other").to_string()) && issued() < 2;
        match request.header("authorization") {
            Some(shown) if shown == newest && !expired => {
                Reply::ok(if request.path.contains(&Digest::of(BLOB).to_string()) { BLOB } else { b"other" })
            }
            _ => {
                let realm = format!("Bearer realm=\"http://{}/token\"", known.get().unwrap());
                Reply::status(401).with("WWW-Authenticate", &realm)
            }
        }
    })
    .await;
    address.set(server.clone()).unwrap();
    let registries = Registries::new(Trust::Loopback, None);
    let folder = tempfile::tempdir().unwrap();
    for bytes in [BLOB, b"other"] {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        let item = Item::Blob { reference: "upstream.example/a:1".to_owned(), digest, size };
        registries.fetch(&server, "a", &item, &folder.path().join("blob"), &|_| {}).await.unwrap();
    }
    assert_eq!(issued.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_registry_with_an_authority_of_the_site_is_spoken_to_over_https() {
    let (address, certificate) = serve_tls(|request| answer(Wants::Password, "", &request)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs_err::write(&file, certificate).unwrap();
    fetched(&address, Trust::Authorities(file), Some(PASSWORD)).await.unwrap();
}

#[test]
fn challenges_are_read_whatever_their_case() {
    let bearer = Bearer::parse("bearer realm=\"https://a.example/t\",scope=\"s\"").unwrap();
    assert_eq!(bearer.url().unwrap(), "https://a.example/t?scope=s");
    for other in ["Basic realm=\"a\"", "Bearer", "Bearer service=\"a\"", ""] {
        assert_eq!(Bearer::parse(other), None, "{other}");
    }
}
