//! What tests of several crates share.

pub mod sample;

pub use sample::{sample_cluster, sample_images};
