//! What the tests on real nodes share: the lab, the binary under test, and the nodes as OpenSSH reaches them.
//!
//! The nodes are reached with OpenSSH's own client and not with kubezt's, so that what is asserted does not rest on
//! what is tested.

pub mod changes;
pub mod kubezt;
pub mod lab;
pub mod load;
pub mod running;
pub mod stories;
pub mod tamper;

pub use kubezt::{Kubezt, Run};
pub use lab::{Lab, Node};
pub use running::Running;
pub use stories::World;
