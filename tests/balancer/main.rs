//! How long short connections take through kubezt's balancer and through HAProxy, and what either loses once it has noticed that a server
//! fell silent.
//!
//! ```text
//! balancer-bench KUBEZT HAPROXY FOLDER
//! ```
//!
//! Both programs stand in front of the same three servers on loopback, which speak TLS and HTTP/2 as API servers do. Rounds of the same
//! load go through one and the other in turn; a round's p99 is compared with that of the other one's round beside it, so that a
//! machine that becomes slower or faster does not count. Prints one JSON object; the folder gets configurations and logs.
//!
//! | module | what it does |
//! |---|---|
//! | [`tls`] | an authority, and what is trusted and shown by whom |
//! | [`servers`] | the servers, which can fall silent |
//! | [`clients`] | connections with one request each, many at a time |
//! | [`balancers`] | the two programs |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on says so by panicking"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is run by whoever reads what it prints")]

mod balancers;
mod clients;
mod servers;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use self::balancers::Balancer;
use self::clients::Client;
use self::servers::Servers;
use self::tls::Tls;

/// Rounds of each program.
const ROUNDS: usize = 9;
/// Connections of a round, each with a request.
const CONNECTIONS: usize = 2000;
/// How many of them there are at a time.
const AT_ONCE: usize = 16;
/// New connections after a program has noticed that a server is silent.
const CONNECTIONS_AFTERWARDS: usize = 1024;
/// How long noticing may take.
const NOTICE: Duration = Duration::from_secs(60);
/// The server that falls silent.
const SILENT: usize = 0;

#[tokio::main]
async fn main() {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [kubezt, haproxy, folder] = &arguments[..] else {
        panic!("usage: balancer-bench KUBEZT HAPROXY FOLDER")
    };
    let tls = Tls::new(folder);
    let servers = Servers::start(&tls).await;
    let programs = [
        Balancer::kubezt(kubezt, &servers.addresses, folder),
        Balancer::haproxy(haproxy, &servers.addresses, folder),
    ];
    let clients = programs.each_ref().map(|program| Client::new(&tls, program.address));
    for client in &clients {
        client.wait_until_answered().await;
        p99(client).await;
    }

    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        // The one that comes first changes, too.
        let (ours, theirs) = if round % 2 == 0 {
            let ours = p99(&clients[0]).await;
            (ours, p99(&clients[1]).await)
        } else {
            let theirs = p99(&clients[1]).await;
            (p99(&clients[0]).await, theirs)
        };
        eprintln!("round {round}: p99 {ours:.2} ms through kubezt, {theirs:.2} ms through HAProxy");
        rounds.push((ours, theirs));
    }

    let held = [hold(&clients[0]).await, hold(&clients[1]).await];
    servers.fall_silent(SILENT);
    let [ours, theirs] = held;
    let lost = tokio::join!(
        lost_after_notice("kubezt", ours, &clients[0]),
        lost_after_notice("HAProxy", theirs, &clients[1]),
    );
    let figures = json!({
        "balancer_p99_vs_haproxy": median(rounds.iter().map(|(ours, theirs)| ours / theirs)),
        "balancer_p99_ms": median(rounds.iter().map(|(ours, _)| *ours)),
        "haproxy_p99_ms": median(rounds.iter().map(|(_, theirs)| *theirs)),
        "balancer_lost_connections": lost.0,
        "haproxy_lost_connections": lost.1,
    });
    println!("{figures}");
}

/// The 99th percentile of one round, in milliseconds.
async fn p99(client: &Client) -> f64 {
    let answers = client.load(CONNECTIONS, AT_ONCE).await;
    let mut took: Vec<Duration> = answers
        .into_iter()
        .map(|answer| answer.expect("no connection is lost while all servers answer"))
        .collect();
    took.sort_unstable();
    took[took.len() * 99 / 100].as_secs_f64() * 1000.0
}

/// A connection to the server that is about to fall silent.
async fn hold(client: &Client) -> clients::Connection {
    loop {
        let mut connection = client.connect().await.unwrap();
        if connection.ask().await.unwrap() == SILENT {
            return connection;
        }
    }
}

/// Waits until a program has noticed: it ends what is connected to the silent server. Counts which of many new connections get no
/// answer then.
async fn lost_after_notice(program: &str, held: clients::Connection, client: &Client) -> usize {
    let silent = Instant::now();
    timeout(NOTICE, held.ended()).await.unwrap_or_else(|_| panic!("{program} never notices a silent server"));
    eprintln!("{program} notices a silent server after {:.1} s", silent.elapsed().as_secs_f64());
    let answers = client.load(CONNECTIONS_AFTERWARDS, AT_ONCE).await;
    let lost: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    if let Some(first) = lost.first() {
        eprintln!("{program} loses {} of {CONNECTIONS_AFTERWARDS} connections then: {first}", lost.len());
    }
    lost.len()
}

/// To microseconds or thousandths.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    (figures[figures.len() / 2] * 1000.0).round() / 1000.0
}
