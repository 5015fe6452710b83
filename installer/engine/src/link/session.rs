//! Connection, program and link of one node together.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::bootstrap::{self, BootstrapStatistics, NodeProgram, Privilege};
use super::{LinkError, LinkStatistics, NodeLink};
use crate::transport::{Connection, ExecStream, Target, TransportError};

/// A node that is reached, with the node side running as root.
#[derive(Debug)]
pub struct NodeConnection {
    connection: Connection,
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
    pub async fn open(target: Target, program: Arc<NodeProgram>, operator: &str) -> Result<Self, LinkError> {
        let connection = Connection::open(target).await?;
        let (stream, bootstrap) = bootstrap::start(&connection, &program).await?;
        let stderr = stream.stderr_reader();
        let node = connection.target().node.clone();
        let link = NodeLink::greet(&node, stream, operator, Some(Box::new(move || stderr.text()))).await?;
        Ok(Self { connection, program, link, bootstrap, further: Mutex::default() })
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
    /// [`TransportError`].
    pub async fn dial(&self, address: std::net::SocketAddr) -> Result<ExecStream, TransportError> {
        let privilege = Privilege::of(&self.connection.target().user);
        let command = self.program.dial_command(privilege, &address.to_string());
        match self.connection.exec(&command).await {
            Err(TransportError::NoSession { .. }) => {}
            result => return result,
        }
        let mut further = self.further.lock().await;
        further.retain(|connection| !connection.is_closed());
        for connection in further.iter() {
            match connection.exec(&command).await {
                Err(TransportError::NoSession { .. }) => {}
                result => return result,
            }
        }
        let connection = Connection::open(self.connection.target().clone()).await?;
        let stream = connection.exec(&command).await;
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
