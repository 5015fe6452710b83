//! Running processes by the name of their executable.

use kubezt_model::node::Reading;

use crate::node::processes::Process;

/// The processes of this name; none is an answer too.
pub fn select(running: Option<&Result<Vec<Process>, String>>, name: &str) -> Reading {
    match running {
        Some(Ok(processes)) => Reading::Processes(
            processes
                .iter()
                .filter(|process| process.name == name)
                .map(|process| process.reading.clone())
                .collect(),
        ),
        Some(Err(why)) => Reading::Failed(why.clone()),
        None => Reading::Failed("processes were not looked at".to_owned()),
    }
}
