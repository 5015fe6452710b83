//! What all connections of a run share: keys that were unlocked, passwords that were typed, and sessions with jump hosts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::keys::PrivateKey;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{Connection, Target, TransportError};

/// Attempts at a passphrase, as many as OpenSSH's client allows.
const PASSPHRASE_ATTEMPTS: usize = 3;
/// A jump host that could not be reached is not tried again before this has passed.
const JUMP_PAUSE: Duration = Duration::from_secs(3);

/// A secret that only a person or a file knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The passphrase of a key file.
    Passphrase(PathBuf),
    /// The password with which a login user becomes root.
    Password {
        /// Login name.
        user: String,
        /// The node that asks first; the answer is given to the others too.
        node: String,
    },
}

/// Answers questions. `again` says that the answer before was wrong.
pub trait Asker: Send + Sync {
    /// The answer.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    fn ask(&self, question: &Question, again: bool) -> Result<Zeroizing<String>, String>;
}

/// An asker that knows nothing: keys have to be unlocked, or in an agent, and sudo has to want no password.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAnswers;

impl Asker for NoAnswers {
    fn ask(&self, _: &Question, _: bool) -> Result<Zeroizing<String>, String> {
        Err("there is nobody to ask".to_owned())
    }
}

type Unlocked = Arc<OnceCell<Result<Arc<PrivateKey>, String>>>;
type JumpHost = Arc<OnceCell<Result<Arc<Connection>, Arc<TransportError>>>>;

/// What all connections of a run share.
pub struct Access {
    asker: Arc<dyn Asker>,
    keys: Mutex<HashMap<PathBuf, Unlocked>>,
    passwords: tokio::sync::Mutex<HashMap<String, Arc<Zeroizing<String>>>>,
    jumps: Mutex<HashMap<String, (Instant, JumpHost)>>,
    /// One question at a time.
    asking: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Nothing yet.
    pub fn new(asker: Arc<dyn Asker>) -> Arc<Self> {
        Arc::new(Self {
            asker,
            keys: Mutex::default(),
            passwords: tokio::sync::Mutex::default(),
            jumps: Mutex::default(),
            asking: Arc::default(),
        })
    }

    async fn ask(&self, question: Question, again: bool) -> Result<Zeroizing<String>, String> {
        let (asker, asking) = (Arc::clone(&self.asker), Arc::clone(&self.asking));
        let answer = tokio::task::spawn_blocking(move || {
            let _turn = asking.lock().unwrap_or_else(PoisonError::into_inner);
            asker.ask(&question, again)
        });
        answer.await.map_err(|error| error.to_string()).flatten()
    }

    /// Unlocks a key, once for all nodes. `decrypt` answers `None` for a wrong passphrase.
    pub(super) async fn unlock(
        &self,
        path: &Path,
        decrypt: impl Fn(&str) -> Result<Option<PrivateKey>, String> + Send + Sync + 'static,
    ) -> Result<Arc<PrivateKey>, String> {
        let cell = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(keys.entry(path.to_owned()).or_default())
        };
        let decrypt = Arc::new(decrypt);
        let unlock = || async {
            for attempt in 0..PASSPHRASE_ATTEMPTS {
                let passphrase = self.ask(Question::Passphrase(path.to_owned()), attempt > 0).await?;
                let decrypt = Arc::clone(&decrypt);
                // Deriving the key from the passphrase is meant to take long.
                let opened = tokio::task::spawn_blocking(move || decrypt(&passphrase)).await;
                if let Some(key) = opened.map_err(|error| error.to_string()).flatten()? {
                    return Ok(Arc::new(key));
                }
            }
            Err(format!("{PASSPHRASE_ATTEMPTS} passphrases were wrong"))
        };
        cell.get_or_init(unlock).await.clone()
    }

    /// The password with which a user becomes root; `refused` is the one that a node did not accept.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub async fn password(
        &self,
        target: &Target,
        refused: Option<&Arc<Zeroizing<String>>>,
    ) -> Result<Arc<Zeroizing<String>>, String> {
        let mut passwords = self.passwords.lock().await;
        // Another node may have asked meanwhile.
        match (passwords.get(&target.user), refused) {
            (Some(password), None) => return Ok(Arc::clone(password)),
            (Some(password), Some(refused)) if !Arc::ptr_eq(password, refused) => {
                return Ok(Arc::clone(password));
            }
            _ => {}
        }
        let question = Question::Password { user: target.user.clone(), node: target.node.clone() };
        let password = Arc::new(self.ask(question, refused.is_some()).await?);
        passwords.insert(target.user.clone(), Arc::clone(&password));
        Ok(password)
    }

    /// The session with the jump hosts before a target; all nodes behind them use it.
    pub(super) async fn jump(
        self: &Arc<Self>,
        target: &Target,
    ) -> Result<Option<Arc<Connection>>, TransportError> {
        let Some((last, before)) = target.jumps.split_last() else { return Ok(None) };
        let host = Target { jumps: before.to_vec(), ..last.clone() };
        let cell = self.jump_cell(&format!("{host:?}"));
        let connect = || async {
            let opened = Box::pin(Connection::open(host.clone(), self)).await;
            opened.map(Arc::new).map_err(Arc::new)
        };
        match cell.get_or_init(connect).await {
            Ok(connection) => Ok(Some(Arc::clone(connection))),
            Err(source) => {
                Err(TransportError::Jump { node: target.node.clone(), source: Arc::clone(source) })
            }
        }
    }

    /// The cell of a jump host; a new one where the session ended, or could not be opened some time ago.
    fn jump_cell(&self, route: &str) -> JumpHost {
        let mut jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, cell)) = jumps.get(route) {
            let usable = match cell.get() {
                None => true,
                Some(Ok(connection)) => !connection.is_closed(),
                Some(Err(_)) => since.elapsed() < JUMP_PAUSE,
            };
            if usable {
                return Arc::clone(cell);
            }
        }
        let cell = JumpHost::default();
        jumps.insert(route.to_owned(), (Instant::now(), Arc::clone(&cell)));
        cell
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use russh::keys::ssh_key::private::Ed25519Keypair;

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Asker for Counting {
        fn ask(&self, _: &Question, again: bool) -> Result<Zeroizing<String>, String> {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            assert_eq!(again, count > 0);
            Ok(Zeroizing::new(format!("answer {count}")))
        }
    }

    fn key() -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
    }

    #[tokio::test]
    async fn a_passphrase_is_asked_for_once_a_key() {
        let asker = Arc::new(Counting::default());
        let access = Access::new(Arc::clone(&asker) as Arc<dyn Asker>);
        let decrypt = |passphrase: &str| Ok((passphrase == "answer 1").then(key));
        let unlocks = (0..8).map(|_| access.unlock(Path::new("/key"), decrypt));
        for unlocked in futures::future::join_all(unlocks).await {
            unlocked.unwrap();
        }
        assert_eq!(asker.0.load(Ordering::SeqCst), 2, "the first answer was wrong");
        let never = |_: &str| Ok(None);
        let access = Access::new(Arc::new(Counting::default()));
        let why = access.unlock(Path::new("/other"), never).await.unwrap_err();
        assert!(why.contains("3 passphrases"), "{why}");
    }

    #[tokio::test]
    async fn a_password_goes_to_all_nodes_until_one_refuses_it() {
        let asker = Arc::new(Counting::default());
        let access = Access::new(Arc::clone(&asker) as Arc<dyn Asker>);
        let target = Target::of("cp1", "10.0.0.1", "admin");
        let first = access.password(&target, None).await.unwrap();
        assert!(Arc::ptr_eq(&first, &access.password(&target, None).await.unwrap()));
        let second = access.password(&target, Some(&first)).await.unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("answer 0", "answer 1"));
        let late = access.password(&target, Some(&first)).await.unwrap();
        assert!(Arc::ptr_eq(&late, &second), "what was typed meanwhile is tried first");
    }
}
