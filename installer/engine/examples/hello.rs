//! Reaches one node, looks at it, and says what that cost.
//!
//! ```text
//! hello ADDRESS USER KEY_FILE KNOWN_HOSTS [BLOB]
//! ```
//!
//! It brings itself to the node, so it has to be built to run there (statically, for the node's architecture). With a
//! BLOB, that file is sent to the node's store as well.

#![allow(clippy::print_stdout, reason = "it is a program to look at")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kubezt_engine::link::session::operator_name;
use kubezt_engine::link::{BlobSource, Compression, NodeConnection, NodeProgram};
use kubezt_engine::node;
use kubezt_engine::transport::{Access, HostKeySource, NoAnswers, Target, scan_host_key};
use kubezt_model::action::Action;
use kubezt_model::desired::Sensitivity;
use kubezt_model::node::Read;
use kubezt_model::{Digest, Mode, Owner, SecretText};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["node", "link"] => node::serve_link::run().await.map_err(Into::into),
        ["node", "dial", address] => node::dial::run(address).await.map_err(Into::into),
        [address, user, key, known_hosts] => hello(address, user, key, known_hosts, None).await,
        [address, user, key, known_hosts, blob] => hello(address, user, key, known_hosts, Some(blob)).await,
        _ => Err("usage: hello ADDRESS USER KEY_FILE KNOWN_HOSTS [BLOB]".into()),
    };
    let Err(error) = result else { return std::process::ExitCode::SUCCESS };
    let mut cause = Some(error.as_ref() as &dyn Error);
    while let Some(error) = cause {
        println!("error: {error}");
        cause = error.source();
    }
    std::process::ExitCode::FAILURE
}

async fn hello(
    address: &str,
    user: &str,
    key: &str,
    known_hosts: &str,
    blob: Option<&str>,
) -> Result<(), Box<dyn Error>> {
    let target = Target {
        identity_files: vec![PathBuf::from(key)],
        agent: false,
        host_key: HostKeySource::KnownHosts(vec![PathBuf::from(known_hosts)]),
        ..Target::of("hello", address, user)
    };
    let access = Access::new(Arc::new(NoAnswers));
    println!("host key: {:?}", scan_host_key(&target, &access).await?);
    let program = Arc::new(NodeProgram::this()?);
    let begin = Instant::now();
    let connection =
        NodeConnection::open(target.clone(), Arc::clone(&access), Arc::clone(&program), &operator_name())
            .await?;
    println!(
        "{:?} connected to {:?}: {:?}",
        begin.elapsed(),
        connection.link().hello().host_name,
        connection.statistics()
    );
    let begin = Instant::now();
    let reads = vec![
        Read::Host,
        Read::File { path: "/etc/passwd".to_owned(), text: false },
        Read::Tree { path: "/etc/ssh".to_owned() },
        Read::Process { name: "sshd".to_owned() },
        Read::Unit { name: "ssh.service".to_owned() },
        Read::Unit { name: "no-such.service".to_owned() },
        Read::Sysctl { key: "kernel.panic".to_owned() },
        Read::Version { program: "/usr/bin/systemctl".to_owned(), arguments: vec!["--version".to_owned()] },
        Read::Image { reference: "registry.k8s.io/pause:3.10".to_owned() },
        Read::User { name: "sshd".to_owned() },
        Read::EtcdValue { key: "/registry/namespaces/kube-system".to_owned() },
        Read::EtcdValue { key: "/registry/no-such".to_owned() },
    ];
    let readings = connection.link().gather(reads).await?;
    println!("{:?} gathered", begin.elapsed());
    for (read, reading) in readings {
        println!("  {read:?}\n    {}", serde_json::to_string(&reading)?);
    }
    let begin = Instant::now();
    let file = Action::PutFile {
        path: "/run/kubezt-hello".to_owned(),
        mode: Mode::new(0o600),
        owner: Owner::root(),
        body: SecretText::new("hello\n".to_owned()),
        sensitivity: Sensitivity::Public,
    };
    let remove = Action::RemoveFile { path: "/run/kubezt-hello".to_owned() };
    let outcomes = connection.link().apply(vec![file, remove], |event| println!("  {event:?}")).await;
    match outcomes {
        Ok(outcomes) => println!("{:?} applied: {outcomes:?}", begin.elapsed()),
        Err(error) => println!("not applied: {error}"),
    }
    if let Some(path) = blob {
        send(&connection, path).await?;
    }
    let begin = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(connection.dial("127.0.0.1:22".parse()?).await?);
    }
    let mut banner = [0; 7];
    for stream in &mut streams {
        stream.read_exact(&mut banner).await?;
    }
    println!("{:?} dialled twelve times: {}", begin.elapsed(), String::from_utf8_lossy(&banner));
    drop(streams);
    println!("{:?}", connection.statistics());
    connection.close().await;
    let begin = Instant::now();
    let connection = NodeConnection::open(target, access, program, &operator_name()).await?;
    println!("{:?} connected again: {:?}", begin.elapsed(), connection.statistics());
    connection.close().await;
    Ok(())
}

async fn send(connection: &NodeConnection, path: &str) -> Result<(), Box<dyn Error>> {
    let content = fs_err::read(path)?;
    let source =
        BlobSource { path: PathBuf::from(path), digest: Digest::of(&content), size: content.len() as u64 };
    let missing = connection.link().missing(vec![source.digest]).await?;
    let Some(missing) = missing.first() else {
        println!("the blob is there already");
        return Ok(());
    };
    let begin = Instant::now();
    let compression = match std::env::var("COMPRESSION").as_deref() {
        Ok("none") => Compression::None,
        Ok("deflate") => Compression::Deflate,
        _ => Compression::Adaptive,
    };
    connection.link().put_blob(&source, *missing, compression, |_| {}).await?;
    println!("{:?} sent {} bytes from {}", begin.elapsed(), source.size, missing.present);
    Ok(())
}
