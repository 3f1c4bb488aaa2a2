//! The embedded broker: where it listens now, and which one it is.
//!
//! `streamify-generate broker` writes `broker/broker.json` under the home folder. Its offsets begin at 0 in every new
//! process, so it has an identity of its own that stands in for the cluster id.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::StreamError;

/// What the file says, as far as a reader needs it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EmbeddedBroker {
    /// `host:port`.
    pub bootstrap_servers: String,
    /// Tells one broker from the next.
    pub identity: String,
    /// Its process.
    pid: u32,
}

/// Reads where the embedded broker under `home` listens.
///
/// # Errors
/// [`StreamError::EmbeddedBrokerMissing`] if there is none, or if it has gone without clearing up.
pub fn find(home: &Path) -> Result<EmbeddedBroker, StreamError> {
    let path = home.join("broker").join("broker.json");
    let missing = |path: PathBuf, problem: String| StreamError::EmbeddedBrokerMissing { path, problem };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(missing(path, "does not exist".to_owned()));
        }
        Err(error) => return Err(missing(path, format!("cannot be read: {error}"))),
    };
    let broker: EmbeddedBroker = match serde_json::from_str(&text) {
        Ok(broker) => broker,
        Err(error) => return Err(missing(path, format!("is not readable: {error}"))),
    };
    if Path::new("/proc/self").exists() && !Path::new("/proc").join(broker.pid.to_string()).exists() {
        return Err(missing(path, format!("names process {}, which has gone", broker.pid)));
    }
    Ok(broker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("broker")).unwrap();
        std::fs::write(home.path().join("broker/broker.json"), text).unwrap();
        home
    }

    fn problem(home: &Path) -> String {
        find(home).unwrap_err().to_string()
    }

    #[test]
    fn a_live_broker_is_found() {
        let pid = std::process::id();
        let home =
            home(&format!(r#"{{"pid":{pid},"bootstrap_servers":"127.0.0.1:1","identity":"i","more":1}}"#));

        let broker = find(home.path()).unwrap();

        assert_eq!((broker.bootstrap_servers.as_str(), broker.identity.as_str()), ("127.0.0.1:1", "i"));
    }

    #[test]
    fn a_missing_dead_or_unreadable_one_is_said_so() {
        let empty = tempfile::tempdir().unwrap();
        assert!(problem(empty.path()).ends_with("does not exist"));
        assert!(problem(home("{").path()).contains("is not readable"));
        let dead = home(&format!(r#"{{"pid":{},"bootstrap_servers":"x","identity":"i"}}"#, i32::MAX));
        assert!(problem(dead.path()).contains("has gone"), "{}", problem(dead.path()));
    }
}
