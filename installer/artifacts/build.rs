//! The recipes are embedded by a macro that does not tell Cargo which files it read.

fn main() {
    println!("cargo::rerun-if-changed=../../images");
}
