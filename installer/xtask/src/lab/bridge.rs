//! The bridge that a lab's nodes are on. Nothing is forwarded beyond this machine.

use anyhow::Result;

use crate::command::{program, quiet};
use crate::inventory::Lab;

/// Makes the bridge where it is missing.
///
/// # Errors
/// `ip` failed.
pub fn make(lab: &Lab) -> Result<()> {
    if !exists(lab) {
        quiet(&mut program("ip", ["link", "add", &lab.bridge, "type", "bridge"]))?;
    }
    let address = format!("{}/{}", lab.gateway, lab.subnet.prefix_length);
    quiet(&mut program("ip", ["address", "replace", &address, "dev", &lab.bridge]))?;
    quiet(&mut program("ip", ["link", "set", &lab.bridge, "up"]))?;
    Ok(())
}

/// Removes the bridge.
///
/// # Errors
/// `ip` failed.
pub fn remove(lab: &Lab) -> Result<()> {
    if exists(lab) {
        quiet(&mut program("ip", ["link", "delete", &lab.bridge]))?;
    }
    Ok(())
}

fn exists(lab: &Lab) -> bool {
    std::path::Path::new("/sys/class/net").join(&lab.bridge).exists()
}
