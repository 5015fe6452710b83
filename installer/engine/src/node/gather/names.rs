//! What the node's resolver says of names.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use kubezt_model::node::Reading;
use kubezt_model::survey::NameReading;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// How long an answer may take. A resolver whose name servers are gone would be waited for much longer.
const LIMIT: Duration = Duration::from_millis(500);

/// Looks the names up side by side.
pub async fn read(names: &[String]) -> Reading {
    let asked = names.iter().map(|name| async move { (name.clone(), resolve(name).await) });
    Reading::Names(join_all(asked).await.into_iter().collect::<BTreeMap<_, _>>())
}

async fn resolve(name: &str) -> NameReading {
    match timeout(LIMIT, lookup_host((name, 0))).await {
        Ok(found) => answer(found.map(|found| found.map(|address| address.ip()).collect())),
        Err(_) => NameReading::Silent,
    }
}

fn answer(found: io::Result<Vec<IpAddr>>) -> NameReading {
    match found {
        Ok(addresses) if addresses.is_empty() => NameReading::None("it has no address".to_owned()),
        Ok(mut addresses) => {
            addresses.sort();
            addresses.dedup();
            NameReading::Addresses(addresses)
        }
        Err(error) => NameReading::None(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_has_addresses_or_a_reason() {
        let Reading::Names(found) = read(&["localhost".to_owned()]).await else { panic!() };
        let NameReading::Addresses(addresses) = &found["localhost"] else { panic!("{found:?}") };
        assert!(addresses.iter().all(IpAddr::is_loopback));
        let none = answer(Err(io::Error::other("no such host")));
        assert_eq!(none, NameReading::None("no such host".to_owned()));
        assert!(matches!(answer(Ok(Vec::new())), NameReading::None(_)));
    }
}
