//! Connection, program and link of one node together.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::bootstrap::{self, BootstrapStatistics, NodeProgram};
use super::elevation::Elevated;
use super::{LinkError, LinkStatistics, NodeLink};
use crate::transport::{Access, Connection, ExecStream, Target};

/// A node that is reached, with the node side running as root.
#[derive(Debug)]
pub struct NodeConnection {
    connection: Connection,
    access: Arc<Access>,
    elevated: Elevated,
    program: Arc<NodeProgram>,
    link: NodeLink,
    bootstrap: BootstrapStatistics,
    /// Further connections, for streams beyond what the server allows on one.
    further: Mutex<Vec<Connection>>,
}

impl NodeConnection {
    /// Connects, brings the program to the node where it is missing, and starts it.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn open(
        target: Target,
        access: Arc<Access>,
        program: Arc<NodeProgram>,
        operator: &str,
    ) -> Result<Self, LinkError> {
        let connection = Connection::open(target, &access).await?;
        let (stream, elevated, bootstrap) = bootstrap::start(&connection, &access, &program).await?;
        let stderr = stream.stderr_reader();
        let node = connection.target().node.clone();
        let link = NodeLink::greet(&node, stream, operator, Some(Box::new(move || stderr.text()))).await?;
        Ok(Self { connection, access, elevated, program, link, bootstrap, further: Mutex::default() })
    }

    /// The link.
    pub fn link(&self) -> &NodeLink {
        &self.link
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A byte stream to a TCP address as the node reaches it, such as `127.0.0.1:6443`.
    ///
    /// Runs `kubezt node dial` on a channel of its own, because hardened hosts forbid TCP forwarding; where the server allows
    /// no more channels on a connection (`MaxSessions`), another connection is opened. A node where nothing
    /// listens ends the stream at once, with the reason in [`ExecStream::stderr`].
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn dial(&self, address: std::net::SocketAddr) -> Result<ExecStream, LinkError> {
        let script = self.program.dial_script(&address.to_string());
        match self.elevated.run(&self.connection, &self.access, &script).await {
            Err(error) if error.wants_another_connection() => {}
            result => return result,
        }
        let mut further = self.further.lock().await;
        further.retain(|connection| !connection.is_closed());
        for connection in further.iter() {
            match self.elevated.run(connection, &self.access, &script).await {
                Err(error) if error.wants_another_connection() => {}
                result => return result,
            }
        }
        let connection = Connection::open(self.connection.target().clone(), &self.access).await?;
        let stream = self.elevated.run(&connection, &self.access, &script).await;
        further.push(connection);
        stream
    }

    /// What this node cost so far, the program included.
    pub fn statistics(&self) -> LinkStatistics {
        let link = self.link.statistics();
        LinkStatistics {
            bytes_sent: link.bytes_sent + self.bootstrap.bytes_sent,
            bytes_received: link.bytes_received,
            round_trips: link.round_trips + self.bootstrap.commands,
        }
    }

    /// Ends the node side and closes the connection.
    pub async fn close(self) {
        self.link.shutdown().await;
        self.connection.close().await;
    }
}

/// Who the operator is, for whoever finds a node locked: `user@host`.
pub fn operator_name() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{}@{host}", user.unwrap_or_else(|| "unknown".to_owned()))
}
