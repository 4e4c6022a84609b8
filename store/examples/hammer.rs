//! Commits as fast as it can until it is killed, and says what was acknowledged; `tests/store/kill` kills it.
//!
//!     hammer write FILE     prints a line for each commit once it is durable
//!     hammer check FILE N   fails unless the first N commits are there, whole, and nothing half of a later one

use std::io::Write;

use store::merge::{Counter, Rule};
use store::{Author, Options, Result, Store};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", path] => write(path),
        ["check", path, acknowledged] => check(path, acknowledged.parse().expect("a number")),
        _ => panic!("hammer write FILE, or hammer check FILE N"),
    }
}

fn open(path: &str) -> Result<Store> {
    let options = Options::new().segment_bytes(256 << 10).merge(Rule::suffix(".n"), Counter);
    if std::path::Path::new(path).exists() {
        Store::open_path(path, options)
    } else {
        Store::create_path(path, options)
    }
}

/// Text whose every byte follows from its number.
fn content(number: u64) -> Vec<u8> {
    let len = [40, 900, 5_000, 70_000][(number % 29 / 8).min(3) as usize];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as u8 % 64 + 32
    };
    (0..len).map(|_| byte()).collect()
}

fn path(number: u64) -> String {
    format!("{}/{}/{number}", number / 400 % 20, number / 20 % 20)
}

fn count(store: &Store) -> Result<u64> {
    let count = store.branch("main")?.snapshot()?.read("count.n")?;
    Ok(count.map_or(0, |count| String::from_utf8_lossy(&count).trim().parse().expect("a count")))
}

fn write(path_of_store: &str) -> Result<()> {
    let store = open(path_of_store)?;
    let main = store.branch("main")?;
    let author = Author::new("Ada", "ada@example.org");
    {
        // Collections come and go beside the writer, and are killed with it.
        let store = store.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(std::time::Duration::from_millis(30));
                store.gc().expect("a collection");
            }
        });
    }
    let mut out = std::io::stdout();
    for number in count(&store)?.. {
        let mut change = main.begin()?;
        change.put(path(number), content(number))?;
        if number >= 300 {
            change.remove(path(number - 300))?;
        }
        change.put("count.n", format!("{}\n", number + 1))?;
        change.index("numbers").put(*b"last", number.to_be_bytes());
        change.commit(author.clone(), format!("{number}"))?;
        writeln!(out, "{}", number + 1)?;
        out.flush()?;
    }
    Ok(())
}

fn check(path_of_store: &str, acknowledged: u64) -> Result<()> {
    let store = open(path_of_store)?;
    let there = count(&store)?;
    assert!(there >= acknowledged, "{acknowledged} commits were acknowledged, {there} are there");
    let snapshot = store.branch("main")?.snapshot()?;
    for number in there.saturating_sub(300)..there {
        assert_eq!(snapshot.read(path(number))?.as_deref(), Some(&content(number)[..]), "file {number}");
    }
    assert_eq!(snapshot.entry(path(there))?, None);
    assert_eq!(snapshot.walk("")?.count() as u64, there.min(300) + u64::from(there > 0));
    if there > 0 {
        assert_eq!(store.index("numbers")?.get(b"last")?.as_deref(), Some(&(there - 1).to_be_bytes()[..]));
        assert_eq!(store.index("numbers")?.at()?, store.branch("main")?.head());
    }
    assert_eq!(store.branch("main")?.history("")?.count() as u64, there);
    assert_eq!(store.fsck()?.problems, []);
    println!("{there}");
    Ok(())
}
