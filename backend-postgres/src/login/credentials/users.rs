//! The users of `gateway.yaml`.
//!
//! Invariants: passwords in files are read anew for each login; a clear password is turned into a verifier once, off the
//! reactor, and only the verifier is kept.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use weir_config::{Password, PasswordSource, ScramVerifier, SecretSource, User};
use weir_core::secret::Secret;

use super::{Account, Credentials, Grant, Lookup};
use crate::login::{
    limits,
    scram::{Verifier, keyed_hash},
};

/// Users by name.
pub struct Users {
    by_name: HashMap<String, (User, Arc<Grant>)>,
    verifiers: Arc<Verifiers>,
}

/// Verifiers made of clear passwords; outlives reloads.
pub struct Verifiers {
    /// Random for each process; also decides the salts, so that they stay the same while the process runs.
    secret: Secret<[u8; 32]>,
    made: Mutex<HashMap<[u8; 32], Arc<Verifier>>>,
}

impl Users {
    /// Users as declared.
    pub fn new(users: &[User], verifiers: Arc<Verifiers>) -> Self {
        let by_name = users
            .iter()
            .map(|user| (user.name.clone(), (user.clone(), Arc::new(grant(user)))))
            .collect();
        Users { by_name, verifiers }
    }

    /// Makes the verifiers of all passwords that are at hand, so that no login has to. Blocks for some milliseconds for
    /// each.
    pub fn prepare(&self) {
        for (user, _) in self.by_name.values() {
            if let Some(password) = &user.password {
                // What is wrong with it is told to the log when somebody logs in.
                let _ = self.verifiers.of(&user.name, password);
            }
        }
    }
}

#[async_trait]
impl Credentials for Users {
    async fn lookup(&self, user: &str, _database: &str) -> Lookup {
        let Some((user, grant)) = self.by_name.get(user) else {
            return Lookup::Unknown;
        };
        let verifier = match &user.password {
            None => None,
            Some(password) => match self.verifiers.look_up(&user.name, password).await {
                Ok(verifier) => Some(verifier),
                Err(reason) => return Lookup::Unusable(reason),
            },
        };
        Lookup::Found(Account {
            verifier,
            certificate: user.certificate.clone(),
            grant: grant.clone(),
        })
    }

    fn doubt(&self, _user: &str, _database: &str) {
        // Nothing is remembered but verifiers, and those by the password itself.
    }
}

impl Verifiers {
    /// With a fresh secret.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn new() -> Result<Arc<Self>, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Arc::new(Verifiers {
            secret: Secret::new(secret),
            made: Mutex::default(),
        }))
    }

    /// The verifier of a user that does not exist.
    pub fn mock(&self, user: &str) -> Verifier {
        Verifier::mock(&self.secret, user)
    }

    async fn look_up(self: &Arc<Self>, user: &str, password: &PasswordSource) -> Result<Arc<Verifier>, String> {
        // A literal whose verifier is known needs no thread.
        if let PasswordSource(SecretSource::Literal(text)) = password
            && let Some(known) = self.made.lock().get(&self.key(user, text))
        {
            return Ok(known.clone());
        }
        let (verifiers, user, password) = (self.clone(), user.to_owned(), password.clone());
        tokio::task::spawn_blocking(move || verifiers.of(&user, &password))
            .await
            .map_err(|_| "the gateway is stopping".to_owned())?
    }

    fn of(&self, user: &str, password: &PasswordSource) -> Result<Arc<Verifier>, String> {
        match password.resolve().map_err(|error| error.to_string())? {
            Password::Clear(text) => Ok(self.derived(user, &text)),
            Password::Scram(stored) => Ok(Arc::new(stored_verifier(&stored)?)),
        }
    }

    /// The verifier of a clear password: made once.
    pub(super) fn derived(&self, user: &str, password: &Secret<String>) -> Arc<Verifier> {
        let key = self.key(user, password);
        if let Some(known) = self.made.lock().get(&key) {
            return known.clone();
        }
        let salt = self.mock(user).salt;
        let made = Arc::new(Verifier::derive(password.expose(), salt, limits::SCRAM_ITERATIONS));
        let mut all = self.made.lock();
        if all.len() >= limits::DERIVED_VERIFIERS {
            all.clear();
        }
        all.insert(key, made.clone());
        made
    }

    fn key(&self, user: &str, password: &Secret<String>) -> [u8; 32] {
        let length = (user.len() as u64).to_be_bytes();
        keyed_hash(
            self.secret.expose(),
            &[b"verifier:", &length, user.as_bytes(), password.expose().as_bytes()],
        )
    }
}

fn grant(user: &User) -> Grant {
    Grant {
        sources: user.sources.clone(),
        read_only: user.read_only,
        pool_mode: user.pool_mode,
        query_timeout: user.query_timeout,
        pool_timeout: user.pool_timeout,
        max_client_connections: user.max_client_connections,
        max_connections: user.max_connections,
        console: weir_core::admin::Role::of(&user.role),
        origins: user.origins.clone(),
    }
}

fn stored_verifier(stored: &ScramVerifier) -> Result<Verifier, String> {
    let key = |key: &Secret<Vec<u8>>| -> Result<Secret<[u8; 32]>, String> {
        <[u8; 32]>::try_from(key.expose().as_slice())
            .map(Secret::new)
            .map_err(|_| "the stored verifier's keys are not 32 bytes long".to_owned())
    };
    Ok(Verifier {
        iterations: stored.iterations,
        salt: stored.salt.clone(),
        stored_key: key(&stored.stored_key)?,
        server_key: key(&stored.server_key)?,
    })
}

#[cfg(test)]
mod tests {
    use weir_config::UserSources;
    use weir_core::settings::Origins;

    use super::*;

    fn user(name: &str, password: Option<&str>) -> User {
        User {
            name: name.to_owned(),
            password: password.map(|text| PasswordSource(SecretSource::Literal(Secret::new(text.to_owned())))),
            certificate: None,
            sources: UserSources::All,
            role: "user".to_owned(),
            read_only: false,
            pool_mode: None,
            query_timeout: None,
            pool_timeout: None,
            caching: None,
            max_client_connections: Some(4),
            max_connections: None,
            origins: Origins::default(),
        }
    }

    async fn found(users: &Users, name: &str) -> Account {
        match users.lookup(name, "any").await {
            Lookup::Found(account) => account,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn clear_and_stored_passwords() {
        let stored = postgres_protocol::password::scram_sha_256(b"canary");
        let users = Users::new(
            &[
                user("clear", Some("canary")),
                user("stored", Some(&stored)),
                user("certificate", None),
            ],
            Verifiers::new().unwrap(),
        );
        let clear = found(&users, "clear").await;
        let verifier = clear.verifier.unwrap();
        assert_eq!(verifier.iterations, 4096);
        assert_eq!(clear.grant.max_client_connections, Some(4));
        // Made once: the second login gets the very same one, salt included.
        assert!(Arc::ptr_eq(&verifier, &found(&users, "clear").await.verifier.unwrap()));
        let other = found(&users, "stored").await.verifier.unwrap();
        assert_eq!(
            other.stored_key,
            Verifier::derive("canary", other.salt.clone(), 4096).stored_key
        );
        assert!(found(&users, "certificate").await.verifier.is_none());
        assert!(matches!(users.lookup("CLEAR", "any").await, Lookup::Unknown));
    }

    #[tokio::test]
    async fn a_password_file_is_read_for_each_login() {
        let folder = std::env::temp_dir().join(format!("weir-users-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("password");
        let mut ann = user("ann", None);
        ann.password = Some(PasswordSource(SecretSource::File(weir_config::SecretFile {
            path: path.clone(),
            allowed_prefix: Some(folder.clone()),
        })));
        let users = Users::new(&[ann], Verifiers::new().unwrap());
        assert!(matches!(users.lookup("ann", "any").await, Lookup::Unusable(why) if why.contains("cannot be read")));
        std::fs::write(&path, "first\n").unwrap();
        let first = found(&users, "ann").await.verifier.unwrap();
        std::fs::write(&path, "second\n").unwrap();
        let second = found(&users, "ann").await.verifier.unwrap();
        assert_eq!(first.salt, second.salt);
        assert_ne!(first.stored_key, second.stored_key);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
