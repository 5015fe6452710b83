//! The framed protocol between the operator and the node side, over any byte stream.
//!
//! ```text
//! operator                                   node
//!    │◄──────────────── Hello ────────────────│   who it is, which program
//!    │───────────────── Hello ───────────────►│   who asks
//!    │─ Gather / Missing / PutBlob / Apply …─►│   one exchange each, side by side
//!    │─ Chunk, Chunk, … ─────────────────────►│   within the credit of the exchange
//!    │◄──── Credit, Event, …, the answer ─────│
//! ```
//!
//! An exchange that is slow holds up nobody: chunks are sent only within the credit its receiver gave, and both ends
//! always read.
//!
//! | module | what it does |
//! |---|---|
//! | [`frame`] | frames: length, kind, exchange, payload |
//! | [`message`] | what is said |
//! | [`assembly`] | messages longer than a frame |
//! | [`writer`] | the one task that writes |
//! | [`client`] | the operator's end |
//! | [`blob`] | sending content-addressed blobs, and having them fetched |
//! | `pace` | whether compressing them pays |
//! | `elevation` | becoming root |
//! | [`bootstrap`] | bringing the program to the node and starting it |
//! | [`session`] | connection, program and link of one node together |

#![expect(
    clippy::disallowed_methods,
    reason = "errors here name the path and what was being done themselves"
)]

pub mod assembly;
pub mod blob;
pub mod bootstrap;
pub mod client;
mod elevation;
mod error;
pub mod frame;
pub mod message;
mod pace;
pub mod session;
pub mod writer;

pub use blob::{BlobSource, Compression};
pub use bootstrap::NodeProgram;
pub use client::{LinkStatistics, NodeLink};
pub use error::LinkError;
pub use message::{ApplyEvent, MissingBlob, NodeHello, RelayCredential, RelayOffer};
pub use session::NodeConnection;
