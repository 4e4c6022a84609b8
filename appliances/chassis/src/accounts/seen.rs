//! When each credential was last used, kept across restarts: one small file on the branch `activity`, written seldom, so
//! that the history of `config` is of changes that somebody made.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use store::{Author, Branch, Store};

use super::{Accounts, LastUse, lock};
use crate::config::ConfigError;
use crate::limits;
use crate::stop::Stop;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    user: String,
    credential: Option<String>,
    #[serde(flatten)]
    last: LastUse,
}

impl Accounts {
    /// Reads what was kept, then keeps what comes: at most every `SEEN_WRITE_TIME`, and at the end.
    pub(crate) async fn keep_last_use(self, store: Store, stop: Stop) {
        let branch = match self.load_last_use(&store) {
            Ok(branch) => branch,
            Err(error) => {
                tracing::warn!(%error, "when devices were last used cannot be read");
                return;
            }
        };
        let mut written = self.newest_use();
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(limits::SEEN_WRITE_TIME) => false,
                _ = stop.asked() => true,
            };
            let newest = self.newest_use();
            if newest > written {
                match self.write_last_use(&branch).await {
                    Ok(()) => written = newest,
                    Err(error) => tracing::warn!(%error, "when devices were last used cannot be kept"),
                }
            }
            if stopping {
                return;
            }
        }
    }

    fn load_last_use(&self, store: &Store) -> Result<Branch, ConfigError> {
        let branch = store.branch(BRANCH)?;
        if let Some(bytes) = branch.snapshot()?.read(FILE)? {
            let seen: Vec<Seen> = serde_json::from_slice(&bytes).unwrap_or_default(); // worth less than a start
            let mut uses = lock(&self.0.last_use);
            for one in seen {
                uses.entry((one.user, one.credential)).or_insert(one.last);
            }
        }
        Ok(branch)
    }

    async fn write_last_use(&self, branch: &Branch) -> Result<(), ConfigError> {
        let uses: HashMap<_, _> = lock(&self.0.last_use).clone();
        let mut seen: Vec<Seen> =
            uses.into_iter().map(|((user, credential), last)| Seen { user, credential, last }).collect();
        seen.retain(|one| self.find(&one.user).is_some());
        seen.sort_by(|a, b| (&a.user, &a.credential).cmp(&(&b.user, &b.credential)));
        let mut change = branch.begin()?;
        change.put(FILE, serde_json::to_vec(&seen).unwrap_or_default())?;
        change
            .commit_async(Author::new("accounts", "accounts@localhost"), "When devices were last used")
            .await?;
        Ok(())
    }

    fn newest_use(&self) -> u64 {
        lock(&self.0.last_use).values().map(|last| last.at_ms).max().unwrap_or(0)
    }
}

const BRANCH: &str = "activity";
const FILE: &str = "last-use.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFiles;
    use std::net::{IpAddr, Ipv4Addr};

    #[tokio::test]
    async fn last_use_survives_a_restart() {
        let store = Store::create(store::MemoryDevice::new(), store::Options::new()).unwrap();
        let files = ConfigFiles::of(&store).unwrap();
        let accounts = Accounts::open(&files).unwrap();
        accounts.create("anna", "anna@example.org", "", "correct horse", false).await.unwrap();
        let stop = Stop::default();
        let keeping = tokio::spawn(accounts.clone().keep_last_use(store.clone(), stop.clone()));
        tokio::task::yield_now().await;
        accounts.login("anna", "correct horse", IpAddr::V4(Ipv4Addr::LOCALHOST), "imap").await.unwrap();
        stop.ask("test");
        keeping.await.unwrap();
        let again = Accounts::open(&files).unwrap();
        again.load_last_use(&store).unwrap();
        assert_eq!(again.last_use("anna", None).unwrap().with, "imap");
    }
}
