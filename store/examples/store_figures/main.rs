//! The store's side of the figures: each subcommand measures one thing and prints one line of JSON.
//! `tests/store/figures` runs it beside the peers.

mod git;
mod mail;
mod peer;
mod rows;

use std::path::Path;

use store::{Author, Options, Result, Store};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{word} is no number"));
    let done = match words[..] {
        ["commits", path, writers, count] => rows::commits(Path::new(path), number(writers), number(count)),
        ["redb", path, writers, count, puts @ ("content" | "objects")] => {
            let puts = if puts == "content" { peer::Puts::Content } else { peer::Puts::Objects };
            peer::redb(Path::new(path), number(writers), number(count), puts)
        }
        ["fill", path, messages, size] => {
            rows::fill(Path::new(path), number(messages), number(size) as usize)
        }
        ["add", path, first, count] => rows::add(Path::new(path), number(first), number(count)),
        ["mailbox", path, messages] => rows::mailbox(Path::new(path), number(messages)),
        ["open", path] => rows::open(Path::new(path)),
        ["gc", path] => rows::gc(Path::new(path)),
        ["merge-make", path] => rows::merge_make(Path::new(path)),
        ["merge", path] => rows::merge(Path::new(path)),
        ["serve", path] => rows::serve(Path::new(path)),
        ["git-mailbox", messages] => git::mailbox(number(messages)),
        ["git-merge"] => git::merge(),
        _ => {
            eprintln!("see store/examples/store_figures/main.rs for what there is to measure");
            std::process::exit(2);
        }
    };
    if let Err(error) = done {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// Who writes.
pub fn ada() -> Author {
    Author::new("Ada", "ada@example.org").at(1_700_000_000, 0)
}

/// An empty store in place of whatever was there.
pub fn create(path: &Path) -> Result<Store> {
    let _ = std::fs::remove_file(path);
    Store::create_path(path, Options::new())
}
