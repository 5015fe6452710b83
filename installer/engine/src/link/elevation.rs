//! How the login user becomes root: sudo or doas, with a password or without, on a terminal where the node wants one.
//!
//! The password goes over standard input, and only once it was asked for: a node that asks for none is sent none. What a
//! login shell prints on the way is skipped.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::LinkError;
use super::client::{MARK, NOISE_MAXIMUM};
use crate::transport::{Access, Connection, Elevation, ExecStream, Target};

/// How long a node may be silent before the script has begun.
const START_SECONDS: u64 = 60;
/// What sudo is told to ask with.
const PROMPT: &str = "KUBEZT-PASSWORD:";
/// The line that says that a script runs as root, for scripts that say nothing themselves.
const READY: &str = "KUBEZT-READY";

/// How a script is run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// The login user is root.
    Login,
    Sudo,
    /// sudo with `requiretty`.
    SudoOnTerminal,
    Doas,
    /// doas reads passwords from a terminal only.
    DoasOnTerminal,
}

impl Means {
    /// What this login user needs.
    pub fn of(target: &Target) -> Self {
        match (target.user.as_str(), target.elevation) {
            ("root", _) => Self::Login,
            (_, Elevation::Sudo) => Self::Sudo,
            (_, Elevation::Doas) => Self::Doas,
        }
    }

    /// A command line for any login shell that runs a script as root. The script holds no single quote.
    fn command(self, script: &str) -> String {
        debug_assert!(!script.contains('\''));
        // On a terminal, standard error would end up between the bytes of the output.
        let raw = |become_root: &str| {
            format!(
                "exec /bin/sh -c 'stty raw -echo; exec {become_root} /bin/sh -c \"$0\"' 'exec 2>/dev/null; {script}'"
            )
        };
        match self {
            Self::Login => format!("exec /bin/sh -c '{script}'"),
            Self::Sudo => format!("exec sudo -S -p {PROMPT} /bin/sh -c '{script}'"),
            Self::SudoOnTerminal => raw(&format!("sudo -p {PROMPT}")),
            Self::Doas => format!("exec doas -n /bin/sh -c '{script}'"),
            Self::DoasOnTerminal => raw("doas"),
        }
    }

    fn on_terminal(self) -> bool {
        matches!(self, Self::SudoOnTerminal | Self::DoasOnTerminal)
    }

    /// What to do where this was refused for these reasons.
    fn instead(self, stderr: &str) -> Option<Self> {
        match self {
            Self::Sudo if stderr.contains("have a tty") || stderr.contains("terminal is required") => {
                Some(Self::SudoOnTerminal)
            }
            Self::Doas
                if stderr.contains("Authentication required")
                    || stderr.contains("Authorization required") =>
            {
                Some(Self::DoasOnTerminal)
            }
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Sudo | Self::SudoOnTerminal => "sudo",
            Self::Doas | Self::DoasOnTerminal => "doas",
        }
    }

    /// Whether the line that is being read asks for a password.
    fn asks(self, line: &[u8]) -> bool {
        match self {
            Self::SudoOnTerminal => line.ends_with(PROMPT.as_bytes()),
            Self::DoasOnTerminal => {
                line.ends_with(b"password: ") && line.windows(6).any(|window| window == b"doas (")
            }
            _ => false,
        }
    }
}

/// A script that runs as root: its stream, after its first line.
pub(super) struct Begun {
    pub stream: ExecStream,
    pub line: String,
    pub elevated: Elevated,
}

/// How a user became root on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elevated {
    means: Means,
    asked: bool,
}

impl Elevated {
    /// What is tried first.
    pub fn first(target: &Target) -> Self {
        Self { means: Means::of(target), asked: false }
    }

    /// Runs a script as root and reads the first line that is meant for kubezt.
    ///
    /// # Errors
    /// [`LinkError::Elevation`], [`LinkError::Start`], [`LinkError::Transport`].
    pub async fn begin(
        self,
        connection: &Connection,
        access: &Arc<Access>,
        script: &str,
    ) -> Result<Begun, LinkError> {
        let mut means = self.means;
        loop {
            let command = means.command(script);
            let mut stream = match means.on_terminal() {
                true => connection.exec_on_terminal(&command).await?,
                false => connection.exec(&command).await?,
            };
            let target = connection.target();
            let (why, refused) = match first_line(&mut stream, means, target, access).await {
                Ok((line, asked)) => return Ok(Begun { stream, line, elevated: Self { means, asked } }),
                Err(Unheard::NoPassword(why)) => return Err(no_root(target, means, why)),
                Err(Unheard::Nothing(why)) => (why, stream.stderr()),
            };
            let exit = timeout(Duration::from_secs(5), stream.finish()).await.unwrap_or_default();
            let stderr = if exit.stderr.is_empty() { refused } else { exit.stderr.clone() };
            if let Some(instead) = means.instead(&stderr) {
                means = instead;
                continue;
            }
            let said = format!("{why}\n{stderr}");
            if let Some(line) = said.lines().rev().find(|line| {
                let line = line.trim_start_matches("only this came back: ");
                line.starts_with("sudo:") || line.starts_with("doas:") || line.contains("sudoers")
            }) {
                return Err(no_root(target, means, line.trim().to_owned()));
            }
            return Err(not_started(target, &why, &exit, &stderr));
        }
    }

    /// Runs a script as root whose own output is all that comes, from the first byte on.
    ///
    /// # Errors
    /// As [`Elevated::begin`].
    pub async fn run(
        self,
        connection: &Connection,
        access: &Arc<Access>,
        script: &str,
    ) -> Result<ExecStream, LinkError> {
        if !self.asked && !self.means.on_terminal() {
            return Ok(connection.exec(&self.means.command(script)).await?);
        }
        let begun = self.begin(connection, access, &format!("echo; echo {READY}; {script}")).await?;
        Ok(begun.stream)
    }
}

/// The error for a script that did not say what it should have said.
pub(super) fn not_started(
    target: &Target,
    why: &str,
    exit: &crate::transport::Exit,
    stderr: &str,
) -> LinkError {
    let why = if stderr.is_empty() { format!("{why}; {exit}") } else { format!("{why}; {exit}: {stderr}") };
    LinkError::Start { node: target.node.clone(), why }
}

fn no_root(target: &Target, means: Means, why: String) -> LinkError {
    LinkError::Elevation { node: target.node.clone(), user: target.user.clone(), means: means.name(), why }
}

/// Why the first line did not come.
enum Unheard {
    /// A password is wanted and there is none.
    NoPassword(String),
    /// Something else came, or nothing.
    Nothing(String),
}

/// Reads up to the first line that is meant for kubezt, and not one byte beyond it; gives a password where one is asked
/// for. Tells whether one was.
async fn first_line(
    stream: &mut ExecStream,
    means: Means,
    target: &Target,
    access: &Arc<Access>,
) -> Result<(String, bool), Unheard> {
    let stderr = stream.stderr_reader();
    let mut password: Option<Arc<Zeroizing<String>>> = None;
    let mut answered = 0;
    let mut prompts = 0;
    let mut line = Vec::new();
    let mut noise = String::new();
    let mut length = 0;
    while length < NOISE_MAXIMUM {
        let next = timeout(Duration::from_secs(START_SECONDS), async {
            tokio::select! {
                byte = stream.read_u8() => Some(byte),
                () = stderr.grew() => None,
            }
        });
        match next.await {
            Err(_) => return Err(Unheard::Nothing(format!("nothing came for {START_SECONDS} s"))),
            Ok(Some(Ok(b'\n'))) => {
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                if text.starts_with(MARK) && !text.starts_with(PROMPT) {
                    return Ok((text, answered > 0));
                }
                if !text.is_empty() {
                    noise = text;
                }
                line.clear();
            }
            Ok(Some(Ok(byte))) => {
                line.push(byte);
                length += 1;
                if means.asks(&line) {
                    prompts += 1;
                    line.clear();
                }
            }
            Ok(Some(Err(_))) if noise.is_empty() => {
                return Err(Unheard::Nothing("nothing came back".to_owned()));
            }
            Ok(Some(Err(_))) => return Err(Unheard::Nothing(format!("only this came back: {noise}"))),
            Ok(None) => prompts = prompts.max(stderr.text().matches(PROMPT).count()),
        }
        while answered < prompts {
            let next = access.password(target, password.as_ref()).await.map_err(Unheard::NoPassword)?;
            let typed = Zeroizing::new(format!("{}\n", next.as_str()));
            // A node that has gone says so when it is read from.
            let _ = stream.write_all(typed.as_bytes()).await;
            let _ = stream.flush().await;
            password = Some(next);
            answered += 1;
        }
    }
    Err(Unheard::Nothing(format!("the login shell printed more than {NOISE_MAXIMUM} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_asked_for_only_where_it_is_needed_and_as_it_was_said() {
        let admin = Target::of("cp1", "10.0.0.1", "admin");
        let means =
            |user: &str, elevation| Means::of(&Target { user: user.to_owned(), elevation, ..admin.clone() });
        assert_eq!(means("root", Elevation::Doas).command("true"), "exec /bin/sh -c 'true'");
        assert_eq!(
            means("admin", Elevation::Sudo).command("true"),
            "exec sudo -S -p KUBEZT-PASSWORD: /bin/sh -c 'true'"
        );
        assert_eq!(means("admin", Elevation::Doas).command("true"), "exec doas -n /bin/sh -c 'true'");
        assert_eq!(
            Means::SudoOnTerminal.command("true"),
            "exec /bin/sh -c 'stty raw -echo; exec sudo -p KUBEZT-PASSWORD: /bin/sh -c \"$0\"' 'exec 2>/dev/null; true'"
        );
    }

    #[test]
    fn a_terminal_is_used_only_where_one_is_wanted() {
        assert_eq!(
            Means::Sudo.instead("sudo: sorry, you must have a tty to run sudo"),
            Some(Means::SudoOnTerminal)
        );
        assert_eq!(Means::Sudo.instead("admin is not in the sudoers file"), None);
        assert_eq!(Means::Doas.instead("doas: Authorization required"), Some(Means::DoasOnTerminal));
        assert_eq!(Means::DoasOnTerminal.instead("doas: Authorization failed"), None);
        assert!(Means::DoasOnTerminal.asks(b"\rdoas (admin@cp1) password: "));
        assert!(!Means::Sudo.asks(b"KUBEZT-PASSWORD:"), "without a terminal it comes on standard error");
    }
}
