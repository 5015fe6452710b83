//! Commands as a person starts them: on a terminal, with answers that are wrong at first, and with second thoughts.
//!
//! The terminal is a pseudo-terminal that script(1) opens, which comes with every Debian (bsdutils).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A question comes within this, on a slow machine and without optimization.
const PATIENCE: Duration = Duration::from_secs(60);
/// What Ctrl-C is on a terminal.
const CTRL_C: &str = "\x03";
/// Shows the cursor (ECMA-48 private mode 25, as xterm has it), and hides it.
const CURSOR: (&str, &str) = ("\x1b[?25h", "\x1b[?25l");

/// A command on a terminal.
struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<String>>,
    /// How much of the screen was read.
    seen: usize,
}

impl Terminal {
    /// Starts kubezt on a terminal of this many columns. The terminal's settings are shown before and after it.
    fn start(folder: &Path, columns: usize, arguments: &str) -> Self {
        let kubezt = env!("CARGO_BIN_EXE_kubezt");
        let settings = "echo \"settings $(stty -g)\"";
        let line = format!(
            "stty cols {columns} rows 24; {settings}; {kubezt} {arguments}; echo \"code $?\"; {settings}; echo end"
        );
        let mut child = Command::new("script")
            .args(["-q", "-c", &line, "/dev/null"])
            .current_dir(folder)
            .env("HOME", folder)
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keyboard = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = output.read(&mut bytes) {
                if count == 0 {
                    break;
                }
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, keyboard, screen, seen: 0 }
    }

    /// Waits until the terminal shows a text that was not read yet.
    fn shows(&mut self, text: &str) {
        let started = Instant::now();
        loop {
            let screen = self.screen.lock().unwrap().clone();
            if let Some(at) = screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(started.elapsed() < PATIENCE, "`{text}` is not shown after:\n{}", &screen[self.seen..]);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits for a question and answers it.
    fn asks(&mut self, question: &str, answer: &str) {
        self.shows(question);
        self.types(&format!("{answer}\r"));
    }

    /// Waits for a question, answers it wrongly, and waits for the reason.
    fn refuses(&mut self, question: &str, answer: &str, why: &str) {
        self.asks(question, answer);
        self.shows(why);
    }

    /// The exit code, and everything that was shown. The terminal has to be as it was.
    fn ends(mut self) -> (i32, String) {
        self.shows("\nend");
        let screen = self.screen.lock().unwrap().clone();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let settings: Vec<&str> =
            screen.lines().filter_map(|line| line.trim().strip_prefix("settings ")).collect();
        assert!(
            settings.len() == 2 && settings[0] == settings[1],
            "the terminal is not restored: {settings:?}"
        );
        let (shown, hidden) = (screen.rfind(CURSOR.0), screen.rfind(CURSOR.1));
        assert!(hidden.is_none() || shown > hidden, "the cursor is not shown any more");
        let code = screen.lines().find_map(|line| line.trim().strip_prefix("code ")).unwrap();
        (code.parse().unwrap(), screen)
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs_err::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What the flags write that say the same as the answers below.
fn by_flags(folder: &Path) -> String {
    let flags = "init -f flags.yaml --name prod --profile stig --node cp1=control-plane@10.0.0.1,ssh=cp1.example.org \
                 --node w1=worker@10.0.0.2 --ssh-user admin --ssh-identity keys/id --endpoint k8s.example.org \
                 --source source --passphrase-file passphrase";
    let output = Command::new(env!("CARGO_BIN_EXE_kubezt"))
        .args(flags.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs_err::read_to_string(folder.join("flags.yaml")).unwrap()
}

#[test]
fn every_question_takes_a_second_answer_and_the_file_is_the_one_that_flags_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), 100, "init -f asked.yaml");
    terminal.refuses("Cluster name", "Prod", "RFC 1123");
    terminal.asks("Cluster name", "prod");
    terminal.refuses("Profile, or a file", "stik", "did you mean `stig`?");
    terminal.asks("Profile, or a file", "stig");
    terminal.refuses("Node's host name", "CP1", "RFC 1123");
    terminal.asks("Node's host name", "cp1");
    terminal.refuses("Role (", "master", "there is no role `master`");
    terminal.asks("Role (", "control-plane");
    terminal.refuses("SSH address", " ", "it is empty");
    terminal.asks("SSH address", "cp1.example.org");
    terminal.refuses("IP address inside", "cp1.example.org", "is not an IP address");
    terminal.refuses("IP address inside", "10.244.0.9", "10.244.0.0/16");
    terminal.asks("IP address inside", "10.0.0.1");
    terminal.shows("Another node?");
    // What is neither yes nor no is no answer.
    terminal.types("xy");
    terminal.refuses("Node's host name", "cp1", "there is a node `cp1` already");
    terminal.asks("Node's host name", "w1");
    terminal.asks("Role (", "");
    terminal.asks("SSH address", "10.0.0.2");
    terminal.refuses("IP address inside", "10.0.0.1", "share the address 10.0.0.1");
    terminal.asks("IP address inside", "");
    terminal.shows("Another node?");
    terminal.types("n");
    terminal.asks("SSH user", "admin");
    terminal.asks("Key file", "keys/id");
    terminal.refuses("DNS name of the API", "K8S", "RFC 1123");
    terminal.asks("DNS name of the API", "k8s.example.org");
    terminal.refuses("Components (", "releases", "did you mean `release`?");
    terminal.asks("Components (", "source");
    terminal.asks("Passphrase file", "passphrase");
    let (code, screen) = terminal.ends();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("asked.yaml is written"), "{screen}");
    let asked = fs_err::read_to_string(folder.path().join("asked.yaml")).unwrap();
    assert_eq!(asked, by_flags(folder.path()));
}

#[test]
fn a_narrow_terminal_asks_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), 12, "init -f asked.yaml --name prod --profile stig");
    terminal.asks("host name", "cp1");
    terminal.asks("Role", "");
    terminal.asks("SSH", "10.0.0.1");
    terminal.asks("IP address", "");
    terminal.shows("Another");
    terminal.types("n");
    for question in ["SSH user", "Key file", "DNS name", "Components", "Passphrase file"] {
        terminal.asks(question, "");
    }
    let (code, screen) = terminal.ends();
    assert_eq!(code, 0, "{screen}");
    let asked = fs_err::read_to_string(folder.path().join("asked.yaml")).unwrap();
    assert!(asked.contains("10.0.0.1") && asked.contains("api.prod.internal"), "{asked}");
}

/// Wherever it is typed: nothing is written, the exit code is a shell's for an interrupt, and the terminal is as it was.
#[test]
fn ctrl_c_writes_nothing_and_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let given = "init --name prod --profile stig";
    let node = [("Node's host name", "cp1"), ("Role (", ""), ("SSH address", "10.0.0.1"), ("IP address", "")];
    for (arguments, before, question) in [
        ("init", &node[..0], "Cluster name"),
        (given, &node[..1], "Role ("),
        // This one hides the cursor.
        (given, &node[..], "Another node?"),
    ] {
        let mut terminal = Terminal::start(folder.path(), 100, arguments);
        before.iter().for_each(|(question, answer)| terminal.asks(question, answer));
        terminal.shows(question);
        // The question is shown before keys are waited for.
        std::thread::sleep(Duration::from_millis(300));
        terminal.types(CTRL_C);
        let (code, screen) = terminal.ends();
        assert_eq!(code, 130, "{question}: {screen}");
        assert!(screen.contains("nothing was written"), "{question}: {screen}");
        assert_eq!(files(folder.path()), [""; 0], "{question}");
    }
}

#[test]
fn a_cluster_file_that_exists_is_not_asked_about_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("cluster.yaml"), "mine\n").unwrap();
    let (code, screen) = Terminal::start(folder.path(), 100, "init").ends();
    assert_eq!(code, 2, "{screen}");
    assert!(screen.contains("never overwritten"), "{screen}");
    assert_eq!(fs_err::read_to_string(folder.path().join("cluster.yaml")).unwrap(), "mine\n");
}

#[test]
fn install_without_a_cluster_file_offers_to_write_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), 100, "install");
    terminal.shows("Write one now?");
    terminal.types("n");
    let (code, screen) = terminal.ends();
    assert_eq!(code, 2, "{screen}");
    assert!(screen.contains("kubezt init"), "{screen}");
    let mut terminal = Terminal::start(folder.path(), 100, "install");
    terminal.shows("Write one now?");
    terminal.types("y");
    terminal.shows("Cluster name");
    std::thread::sleep(Duration::from_millis(300));
    terminal.types(CTRL_C);
    assert_eq!(terminal.ends().0, 130);
    assert_eq!(files(folder.path()), [""; 0]);
}
