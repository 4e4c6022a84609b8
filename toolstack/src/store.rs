//! `nymote store …`: look into a store, change it, and talk to other Git repositories.

mod bare;
mod change;
mod connection;
mod control;
mod graph;
mod inspect;
mod look;
mod remote;
mod serve;
#[cfg(test)]
mod serve_tests;
mod show;
mod upkeep;

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use store::merge::calendars_and_cards;
use store::{Author, Options, Store};

use show::Show;

/// Looks into a store, changes it, and talks to other Git repositories.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StoreArguments {
    /// Print one JSON value a line, for programs
    #[arg(long, global = true)]
    json: bool,
    /// Who makes the change: "Name <address>" [default: GIT_AUTHOR_NAME and _EMAIL, else the user's name]
    #[arg(long, global = true, value_name = "NAME <ADDRESS>")]
    author: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "Begin here:
  nymote store init home.store                       an empty store, one file
  echo milk | nymote store put home.store list.txt   write a file; every write is a commit
  nymote store log home.store                        what happened
  nymote store branch home.store phone               a second line of work; `merge` brings it back
  nymote store serve home.store --allow-push         then: git clone http://127.0.0.1:8418/store.git
  nymote store help merge                            every command explains itself
A store holds Git's own objects. While it is served, commands on it are run by the server.";

#[derive(Debug, Subcommand, Serialize, Deserialize)]
enum Verb {
    /// Make an empty store in a new file or on a block device
    Init {
        /// The file, which must not exist, or a block device
        file: PathBuf,
        /// Overwrite what is in the file or on the device
        #[arg(long)]
        force: bool,
    },
    /// List a directory
    Ls {
        file: PathBuf,
        /// The directory [default: the root]
        path: Option<String>,
        /// A branch, tag or commit
        #[arg(long, default_value = "main")]
        at: String,
        /// All files below it
        #[arg(short, long)]
        recursive: bool,
    },
    /// Print a file's bytes
    Cat {
        file: PathBuf,
        path: String,
        /// A branch, tag or commit
        #[arg(long, default_value = "main")]
        at: String,
    },
    /// Write a file, from a file or from standard input
    Put {
        file: PathBuf,
        path: String,
        /// What to write; `-` or nothing is standard input
        source: Option<PathBuf>,
        #[arg(short, long, default_value = "main")]
        branch: String,
        #[arg(short, long)]
        message: Option<String>,
    },
    /// Remove a file or a directory
    Rm {
        file: PathBuf,
        path: String,
        #[arg(short, long, default_value = "main")]
        branch: String,
        #[arg(short, long)]
        message: Option<String>,
    },
    /// Show the history, as a graph, of everything or of a path
    Log {
        file: PathBuf,
        /// Only commits that changed this
        path: Option<String>,
        #[arg(short, long, default_value = "main")]
        branch: String,
        /// No more than so many commits
        #[arg(short = 'n', long, default_value_t = 1000)]
        count: usize,
    },
    /// Show what differs between two branches, tags or commits
    Diff {
        file: PathBuf,
        old: String,
        new: String,
        /// Only at or below this path
        path: Option<String>,
    },
    /// List the branches; make one, move nothing
    Branch {
        file: PathBuf,
        /// The new branch; none lists them
        name: Option<String>,
        /// Where it begins: a branch, tag or commit
        #[arg(long, default_value = "main")]
        at: String,
        /// Forget the branch instead
        #[arg(short, long)]
        delete: bool,
    },
    /// Merge a branch, tag or commit into a branch
    Merge {
        file: PathBuf,
        from: String,
        #[arg(long, default_value = "main")]
        into: String,
        #[arg(short, long)]
        message: Option<String>,
    },
    /// List what merges left to be settled; with a key, show both sides
    Conflicts {
        file: PathBuf,
        key: Option<String>,
        #[arg(short, long, default_value = "main")]
        branch: String,
    },
    /// Settle a conflict
    Settle {
        file: PathBuf,
        /// From `nymote store conflicts`; its first digits suffice
        key: String,
        #[command(flatten)]
        by: SettleBy,
        #[arg(short, long, default_value = "main")]
        branch: String,
    },
    /// Take back what a commit changed, by a new commit
    Revert {
        file: PathBuf,
        commit: String,
        #[arg(short, long, default_value = "main")]
        branch: String,
        #[arg(short, long)]
        message: Option<String>,
    },
    /// Print every change of a branch as it happens
    Watch {
        file: PathBuf,
        /// Only at or below this path
        path: Option<String>,
        #[arg(short, long, default_value = "main")]
        branch: String,
        /// Begin with the changes since this commit
        #[arg(long)]
        from: Option<String>,
        /// End after so many events
        #[arg(short = 'n', long)]
        count: Option<usize>,
    },
    /// Fetch the branches and tags of a Git repository (http, https)
    Fetch {
        file: PathBuf,
        url: String,
        /// Its branches are kept as NAME/BRANCH
        #[arg(long, default_value = "origin")]
        name: String,
        #[command(flatten)]
        login: Login,
    },
    /// Fetch, and merge the remote's branch into ours
    Pull {
        file: PathBuf,
        url: String,
        /// The branch there, and here
        #[arg(short, long, default_value = "main")]
        branch: String,
        /// Its branches are kept as NAME/BRANCH
        #[arg(long, default_value = "origin")]
        name: String,
        #[command(flatten)]
        login: Login,
    },
    /// Push branches to a Git repository (http, https)
    Push {
        file: PathBuf,
        url: String,
        /// Branches, or OURS:THEIRS; `:THEIRS` deletes [default: main]
        refs: Vec<String>,
        /// Also when the remote loses commits
        #[arg(long, conflicts_with = "lease")]
        force: bool,
        /// Also when the remote loses commits, but none that came since the last fetch
        #[arg(long)]
        lease: bool,
        /// The remote's name, for --lease
        #[arg(long, default_value = "origin")]
        name: String,
        /// All or none
        #[arg(long)]
        atomic: bool,
        #[command(flatten)]
        login: Login,
    },
    /// Write a bare Git repository
    Export {
        file: PathBuf,
        /// A new directory
        directory: PathBuf,
    },
    /// Take in all branches and tags of a bare Git repository, or of a work tree's .git
    Import { file: PathBuf, directory: PathBuf },
    /// Free what no branch and no tag reaches any more
    Gc { file: PathBuf },
    /// Thin out old history: everything for some days, then a commit a day, then one a week
    Retain {
        file: PathBuf,
        /// Keep every commit of so many days
        #[arg(long, value_name = "DAYS")]
        days: u32,
        /// Then the last commit of each day, for so many days more; then of each week
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        daily: u32,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Remove a path from all of history, for good; without a path, list what was purged
    Purge {
        file: PathBuf,
        path: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Read everything and see that it is what it says, and that nothing is missing
    Fsck {
        file: PathBuf,
        /// Mend what can be mended first, and say what is lost; copy the file before
        #[arg(long)]
        repair: bool,
    },
    /// Sizes and counts
    Stat { file: PathBuf },
    /// Serve the store to git at http://ADDRESS/store.git
    Serve {
        file: PathBuf,
        /// Address and port; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:8418")]
        listen: SocketAddr,
        /// Let everybody who reaches the address push
        #[arg(long)]
        allow_push: bool,
    },
}

#[derive(Debug, Args, Serialize, Deserialize)]
#[group(required = true, multiple = false)]
struct SettleBy {
    /// Our side
    #[arg(long)]
    ours: bool,
    /// Their side
    #[arg(long)]
    theirs: bool,
    /// As it was before both changes
    #[arg(long)]
    base: bool,
    /// What stands there now
    #[arg(long)]
    kept: bool,
    /// Neither: remove the file
    #[arg(long)]
    remove: bool,
    /// The content of this file
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
}

#[derive(Debug, Args, Serialize, Deserialize)]
struct Login {
    /// Name for the host
    #[arg(long)]
    user: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// What a command fails with: a line for people that says what to do.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    fn new(text: impl Into<String>) -> Failure {
        Failure(text.into())
    }
}

macro_rules! fails_with {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure(error.to_string())
            }
        })*
    };
}
fails_with!(std::io::Error, git_wire::client::ClientError, git_wire::RepositoryError);

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        Failure(error.with_advice("FILE"))
    }
}

/// Runs one command; returns the program's exit code.
pub fn run(arguments: StoreArguments) -> i32 {
    let StoreArguments { json, author, verb } = arguments;
    let show = Show::new(json);
    let author = author.unwrap_or_else(author_of_environment);
    let done = match verb.file().and_then(control::serving) {
        Some(stream) => control::forward(stream, verb, &author, json),
        None => dispatch(verb, &author, &show, &open),
    };
    ending(&show, done)
}

fn ending(show: &Show, done: Result<i32, Failure>) -> i32 {
    done.unwrap_or_else(|failure| {
        show.failure(&failure.0);
        1
    })
}

fn dispatch(
    verb: Verb,
    author: &str,
    show: &Show,
    open: &dyn Fn(&Path) -> Result<Store, Failure>,
) -> Result<i32, Failure> {
    let author = read_author(author)?;
    match verb {
        Verb::Init { file, force } => change::init(show, &file, force),
        Verb::Ls { file, path, at, recursive } => {
            look::ls(show, &open(&file)?, path.as_deref().unwrap_or(""), &at, recursive)
        }
        Verb::Cat { file, path, at } => look::cat(show, &open(&file)?, &path, &at),
        Verb::Put { file, path, source, branch, message } => {
            change::put(show, &open(&file)?, &path, source.as_deref(), &branch, message, author)
        }
        Verb::Rm { file, path, branch, message } => {
            change::rm(show, &open(&file)?, &path, &branch, message, author)
        }
        Verb::Log { file, path, branch, count } => {
            look::log(show, &open(&file)?, path.as_deref().unwrap_or(""), &branch, count)
        }
        Verb::Diff { file, old, new, path } => {
            look::diff(show, &open(&file)?, &old, &new, path.as_deref().unwrap_or(""))
        }
        Verb::Branch { file, name, at, delete } => {
            change::branch(show, &open(&file)?, name.as_deref(), &at, delete)
        }
        Verb::Merge { file, from, into, message } => {
            change::merge(show, &open(&file)?, &from, &into, message, author)
        }
        Verb::Conflicts { file, key, branch } => {
            look::conflicts(show, &open(&file)?, key.as_deref(), &branch)
        }
        Verb::Settle { file, key, by, branch } => {
            change::settle(show, &open(&file)?, &key, by, &branch, author)
        }
        Verb::Revert { file, commit, branch, message } => {
            change::revert(show, &open(&file)?, &commit, &branch, message, author)
        }
        Verb::Watch { file, path, branch, from, count } => {
            look::watch(show, &open(&file)?, path.as_deref().unwrap_or(""), &branch, from.as_deref(), count)
        }
        Verb::Fetch { file, url, name, login } => remote::fetch(show, &open(&file)?, &url, &name, login),
        Verb::Pull { file, url, branch, name, login } => {
            remote::pull(show, &open(&file)?, &url, &name, &branch, login, author)
        }
        Verb::Push { file, url, refs, force, lease, name, atomic, login } => {
            let how = remote::How { force, lease: lease.then_some(name), atomic };
            remote::push(show, &open(&file)?, &url, refs, how, login)
        }
        Verb::Export { file, directory } => remote::export(show, &open(&file)?, &directory),
        Verb::Import { file, directory } => remote::import(show, &open(&file)?, &directory),
        Verb::Gc { file } => upkeep::gc(show, &open(&file)?),
        Verb::Retain { file, days, daily, yes } => upkeep::retain(show, &open(&file)?, days, daily, yes),
        Verb::Purge { file, path: Some(path), yes } => upkeep::purge(show, &open(&file)?, &path, author, yes),
        Verb::Purge { file, path: None, .. } => upkeep::purges(show, &open(&file)?),
        Verb::Fsck { file, repair: false } => inspect::fsck(show, &open(&file)?),
        Verb::Fsck { file, repair: true } => inspect::repair(show, &file, options()),
        Verb::Stat { file } => inspect::stat(show, &open(&file)?, &file),
        Verb::Serve { file, listen, allow_push } => {
            remote::serve(show, open(&file)?, &file, listen, allow_push)
        }
    }
}

fn open(file: &Path) -> Result<Store, Failure> {
    Store::open_path(file, options()).map_err(|error| {
        let file = file.display();
        match &error {
            store::Error::Device(cause) => match cause.kind() {
                ErrorKind::NotFound => {
                    Failure(format!("{file} does not exist; `nymote store init {file}` makes a store there"))
                }
                ErrorKind::ResourceBusy => Failure(format!(
                    "{file} is in use by another process, which takes no commands; stop it, or use git against it"
                )),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Failure(format!(
                    "{file} cannot be opened for writing ({cause}); a store is locked and completed when it is opened: \
                     run as the user who owns it, or copy it somewhere writable"
                )),
                ErrorKind::IsADirectory => Failure(format!("{file} is a directory; a store is one file or a disk")),
                _ => Failure(format!("{file}: {cause}")),
            },
            _ => Failure(format!("{file}: {}", error.with_advice(&file))),
        }
    })
}

/// A store's options with the typed merges.
fn options() -> Options {
    // A clone looks each object up a few times; this much keeps the index of a household in memory.
    calendars_and_cards(Options::new().cache_bytes(24 << 20))
}

fn read_author(text: &str) -> Result<Author, Failure> {
    let (name, rest) = text
        .split_once('<')
        .ok_or_else(|| Failure::new("--author wants a name and an address: \"Ada <ada@example.org>\""))?;
    if name.trim().is_empty() {
        return Err(Failure::new("--author wants a name before the address: \"Ada <ada@example.org>\""));
    }
    Ok(Author::new(name.trim(), rest.trim_end_matches('>').trim()))
}

fn author_of_environment() -> String {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = said("USER").or(said("LOGNAME")).unwrap_or_else(|| "nymote".into());
    let name = said("GIT_AUTHOR_NAME").unwrap_or_else(|| user.clone());
    let address = said("GIT_AUTHOR_EMAIL").unwrap_or_else(|| format!("{user}@localhost"));
    format!("{} <{address}>", name.replace('<', ""))
}

impl Verb {
    /// The store that a running server could be asked to use; what makes or serves one does it here.
    fn file(&self) -> Option<&Path> {
        match self {
            Verb::Init { .. } | Verb::Serve { .. } | Verb::Fsck { repair: true, .. } => None,
            Verb::Ls { file, .. }
            | Verb::Cat { file, .. }
            | Verb::Put { file, .. }
            | Verb::Rm { file, .. }
            | Verb::Log { file, .. }
            | Verb::Diff { file, .. }
            | Verb::Branch { file, .. }
            | Verb::Merge { file, .. }
            | Verb::Conflicts { file, .. }
            | Verb::Settle { file, .. }
            | Verb::Revert { file, .. }
            | Verb::Watch { file, .. }
            | Verb::Fetch { file, .. }
            | Verb::Pull { file, .. }
            | Verb::Push { file, .. }
            | Verb::Export { file, .. }
            | Verb::Import { file, .. }
            | Verb::Gc { file }
            | Verb::Retain { file, .. }
            | Verb::Purge { file, .. }
            | Verb::Fsck { file, .. }
            | Verb::Stat { file } => Some(file),
        }
    }

    /// Another process has another directory to start from.
    fn make_paths_absolute(&mut self) -> std::io::Result<()> {
        let path = match self {
            Verb::Put { source: Some(path), .. } if path.as_os_str() != "-" => path,
            Verb::Settle { by: SettleBy { with: Some(path), .. }, .. }
            | Verb::Fetch { login: Login { password_file: Some(path), .. }, .. }
            | Verb::Pull { login: Login { password_file: Some(path), .. }, .. }
            | Verb::Push { login: Login { password_file: Some(path), .. }, .. }
            | Verb::Export { directory: path, .. }
            | Verb::Import { directory: path, .. } => path,
            _ => return Ok(()),
        };
        *path = std::path::absolute(&path)?;
        Ok(())
    }

    fn reads_input(&self) -> bool {
        match self {
            Verb::Put { source, .. } => source.as_ref().is_none_or(|source| source.as_os_str() == "-"),
            Verb::Retain { yes, .. } => !yes,
            Verb::Purge { yes, path, .. } => !yes && path.is_some(),
            _ => false,
        }
    }
}
