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
//! | [`source`] | compiles programs from Go modules pinned by `go.sum` |
//! | [`release`] | downloads upstream files over HTTPS, checked by digest |
//! | [`registry`] | pulls upstream images by digest |
//! | [`layer`], [`image`] | deterministic layers and OCI archives |
//! | [`base`] | the Debian userland under an image that needs one |
//! | [`cache`] | blobs, build records, locks |
//!
//! Paths touched: the cache folder it is given (`$XDG_CACHE_HOME/kubezt/artifacts` by default), and Go's own caches.

pub mod base;
pub mod cache;
pub mod catalogue;
mod error;
mod hashing;
pub mod image;
pub mod layer;
pub mod lock;
pub mod prepare;
pub mod program;
pub mod recipe;
pub mod registry;
pub mod release;
pub mod source;
mod toolchain;

pub use cache::{CorruptBlob, default_cache, verify};
pub use catalogue::Catalogue;
pub use error::Error;
pub use prepare::{Extent, ImageArchive, NodeFile, Prepared, Progress, Tool, Wanted, prepare};
pub use program::program_image;
pub use recipe::Architecture;
