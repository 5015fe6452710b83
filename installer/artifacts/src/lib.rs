//! Components and images: where they come from, how they are checked, where they are kept.
//!
//! A [`Catalogue`] of recipes and a [`prepare`] call are the whole interface. Everything prepared is a blob in a
//! content-addressed cache; what is there already is returned without running or hashing anything.
//!
//! | module | what it does |
//! |---|---|
//! | [`recipe`] | `images/<component>/component.yaml`, typed and checked |
//! | [`lock`] | `images/lock.yaml`: versions and upstream digests |
//! | [`catalogue`] | recipes, lock and Go modules together, embedded or from a folder |
//! | [`mod@prepare`] | wanted components → files, images and tools |
//! | `sources` | where they come from: a list, one interface, one file a source |
//! | [`mod@export`] | fills the folder that the source `directory` reads |
//! | `item` | content that a digest pins, and where each source has it |
//! | `download` | bytes over HTTP: resumed, tried again, bounded, checked |
//! | `registry`, `credentials`, `pull` | registries: who asks, and what an image is made of |
//! | [`layer`], [`image`] | deterministic layers and OCI archives |
//! | [`base`] | the Debian userland under an image that needs one |
//! | [`cache`] | blobs, build records, locks |
//!
//! Paths touched: the cache folder it is given (`$XDG_CACHE_HOME/kubezt/artifacts` by default), and Go's own caches.

pub mod base;
pub mod cache;
pub mod catalogue;
mod credentials;
mod download;
mod error;
pub mod export;
mod hashing;
pub mod image;
mod item;
pub mod layer;
pub mod lock;
mod part;
pub mod prepare;
pub mod program;
mod pull;
pub mod recipe;
mod registry;
mod sources;
#[cfg(test)]
mod testing;
mod toolchain;
mod unpack;

pub use cache::{CorruptBlob, default_cache, verify};
pub use catalogue::Catalogue;
pub use error::{Error, FolderProblem, Found};
pub use export::{Exported, export};
pub use prepare::{Extent, ImageArchive, NodeFile, Prepared, Progress, Tool, Wanted, prepare};
pub use program::program_image;
pub use recipe::Architecture;
pub use sources::auto::Choice;
pub use sources::{OciRegistry, Origin};
