//! Checking the passwords that clients send: by what is kept of them, or by what a server said to them.
//!
//! Invariants: nobody's password is kept here, only what a slow hash makes of it; each check costs one such hash, whether
//! there is such a user or not; hashing happens off the reactor, and a few at a time.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_core::{limits::SCRAM_ITERATIONS, secret::Secret, verifier::Verifier};

use super::limits;

/// Checks passwords; one for all listeners.
#[derive(Debug)]
pub struct Passwords {
    /// Random for each process; decides the salts of what is hashed here.
    secret: Secret<[u8; 32]>,
    hashing: Arc<Semaphore>,
}

/// What a slow hash, salted with a secret of this process, makes of a user's password.
pub type Digest = [u8; 32];

impl Passwords {
    /// With a fresh secret.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn new() -> Result<Arc<Self>, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Arc::new(Passwords {
            secret: Secret::new(secret),
            hashing: Arc::new(Semaphore::new(limits::HASHES_AT_A_TIME)),
        }))
    }

    /// Whether this is the password behind `verifier`; without one the answer is no, after the same work.
    pub async fn accepts(&self, verifier: Option<Arc<Verifier>>, user: &str, password: &Secret<String>) -> bool {
        let verifier = verifier.unwrap_or_else(|| Arc::new(Verifier::mock(&self.secret, user)));
        let password = password.clone();
        self.hashed(move || verifier.accepts(password.expose())).await == Some(true)
    }

    /// What tells this password from others without looking at it; `None` when the gateway is stopping.
    pub async fn digest(&self, user: &str, password: &Secret<String>) -> Option<Digest> {
        let salt = Verifier::mock(&self.secret, user).salt;
        let password = password.clone();
        self.hashed(move || {
            *Verifier::derive(password.expose(), salt, SCRAM_ITERATIONS)
                .stored_key
                .expose()
        })
        .await
    }

    async fn hashed<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // The permit goes with the work: it is not over when nobody waits for it any more.
        let permit = self.hashing.clone().acquire_owned().await.ok()?;
        let hashed = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        hashed.await.ok()
    }
}

/// Logins that a server of one source has accepted from clients (`pass_through_login`).
#[derive(Debug)]
pub struct ProvenLogins {
    proven: Mutex<HashMap<String, Digest>>,
    trying: Arc<Semaphore>,
}

impl Default for ProvenLogins {
    fn default() -> Self {
        ProvenLogins {
            proven: Mutex::default(),
            trying: Arc::new(Semaphore::new(limits::UNPROVEN_LOGINS)),
        }
    }
}

impl ProvenLogins {
    /// Whether a server has accepted this password of this user, as far as is known.
    pub fn knows(&self, user: &str, digest: &Digest) -> bool {
        let proven = self.proven.lock();
        proven.get(user).is_some_and(|known| bool::from(known.ct_eq(digest)))
    }

    /// A server has accepted it.
    pub fn add(&self, user: &str, digest: Digest) {
        let mut proven = self.proven.lock();
        if proven.len() >= limits::PROVEN_LOGINS && !proven.contains_key(user) {
            proven.clear();
        }
        proven.insert(user.to_owned(), digest);
    }

    /// A server has not accepted it, now.
    pub fn forget(&self, user: &str, digest: &Digest) {
        let mut proven = self.proven.lock();
        if proven.get(user) == Some(digest) {
            proven.remove(user);
        }
    }

    /// Waits for a turn to try a login that is not known; it lasts as long as what comes out.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.trying.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_checked_against_what_is_kept_of_it() {
        let passwords = Passwords::new().expect("random bytes");
        let verifier = Arc::new(Verifier::derive("canary", vec![1; 16], 2));
        assert!(
            passwords
                .accepts(Some(verifier.clone()), "ann", &secret("canary"))
                .await
        );
        assert!(!passwords.accepts(Some(verifier), "ann", &secret("Canary")).await);
        assert!(!passwords.accepts(None, "ann", &secret("canary")).await);
    }

    #[tokio::test]
    async fn what_a_server_accepted_is_known_until_it_does_not() {
        let passwords = Passwords::new().expect("random bytes");
        let proven = ProvenLogins::default();
        let digest = passwords.digest("ann", &secret("canary")).await.expect("running");
        assert!(!proven.knows("ann", &digest));
        proven.add("ann", digest);
        assert!(proven.knows("ann", &digest));
        let other = passwords.digest("ann", &secret("Canary")).await.expect("running");
        assert!(!proven.knows("ann", &other), "another password");
        assert!(!proven.knows("bob", &digest), "another user");
        // A late "no" to an older password says nothing about the newer one.
        proven.forget("ann", &other);
        assert!(proven.knows("ann", &digest));
        proven.forget("ann", &digest);
        assert!(!proven.knows("ann", &digest));
    }

    #[tokio::test]
    async fn users_with_equal_passwords_have_different_digests() {
        let passwords = Passwords::new().expect("random bytes");
        let ann = passwords.digest("ann", &secret("same")).await;
        let bob = passwords.digest("bob", &secret("same")).await;
        assert_ne!(ann, bob);
    }
}
