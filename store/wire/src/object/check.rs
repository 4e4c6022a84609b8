//! What `git fsck --strict` asks of an object by itself. Names in comments are those of git-fsck's messages.

use super::parse::{Malformed, header_lines, id_line, tree_entries};
use crate::Kind;

/// Checks an object's form. Blobs have none.
pub fn check(kind: Kind, content: &[u8]) -> Result<(), Malformed> {
    match kind {
        Kind::Blob => Ok(()),
        Kind::Tree => check_tree(content),
        Kind::Commit => check_commit(content).map_err(|what| Malformed { kind, what }),
        Kind::Tag => check_tag(content).map_err(|what| Malformed { kind, what }),
    }
}

/// Whether a name may stand in a tree: not empty, no slash, not `.`, `..` or anything that a file system takes for `.git`.
pub fn check_entry_name(name: &[u8]) -> Result<(), &'static str> {
    match name {
        b"" => Err("it has an entry without a name"),
        b"." | b".." => Err("it has an entry called '.' or '..'"),
        _ if name.contains(&b'/') || name.contains(&0) => Err("a name in it has a slash or a NUL"),
        _ if name.len() > NAME_BYTES_MAX => Err("a name in it is longer than 4,096 bytes"),
        _ if is_dot_git(name) => Err("it has an entry that is, or that a file system takes for, '.git'"),
        _ => Ok(()),
    }
}

fn check_tree(content: &[u8]) -> Result<(), Malformed> {
    let bad = |what| Malformed { kind: Kind::Tree, what };
    let mut before: Option<(&[u8], bool)> = None;
    // Names of files that a directory of the same name may follow, with others between them (duplicateEntries).
    let mut files: Vec<&[u8]> = Vec::new();
    for entry in tree_entries(content) {
        let entry = entry?;
        match entry.mode {
            b"40000" | b"100644" | b"100755" | b"120000" | b"160000" => {}
            // Old Gits wrote it; git fsck lets it pass.
            b"100664" => {}
            mode if mode.first() == Some(&b'0') => return Err(bad("a mode in it begins with a zero")),
            _ => return Err(bad("it has a mode that Git does not know")),
        }
        check_entry_name(entry.name).map_err(bad)?;
        if entry.id.is_zero() {
            return Err(bad("it names the null object"));
        }
        let is_tree = entry.mode == b"40000";
        if entry.mode == b"120000" && entry.name.eq_ignore_ascii_case(b".gitmodules") {
            return Err(bad("its .gitmodules is a symbolic link"));
        }
        if let Some((name, was_tree)) = before {
            match compare(name, was_tree, entry.name, is_tree) {
                std::cmp::Ordering::Less => {}
                _ if name == entry.name => return Err(bad("it has two entries of one name")),
                _ => return Err(bad("its entries are not sorted")),
            }
        }
        while files.last().is_some_and(|file| !entry.name.starts_with(file)) {
            files.pop();
        }
        if files.contains(&entry.name) {
            return Err(bad("it has two entries of one name"));
        }
        if !is_tree {
            files.push(entry.name);
        }
        before = Some((entry.name, is_tree));
    }
    Ok(())
}

/// Git sorts a directory as if its name ended in a slash.
pub fn compare(one: &[u8], one_is_tree: bool, other: &[u8], other_is_tree: bool) -> std::cmp::Ordering {
    let slash = |is_tree: bool| is_tree.then_some(b'/');
    let one = one.iter().copied().chain(slash(one_is_tree));
    one.cmp(other.iter().copied().chain(slash(other_is_tree)))
}

fn check_commit(content: &[u8]) -> Result<(), &'static str> {
    let mut rest = content;
    id_line(&mut rest, b"tree ").ok_or("the first line is not its tree")?;
    while rest.starts_with(b"parent ") {
        id_line(&mut rest, b"parent ").ok_or("a parent is no object id")?;
    }
    let mut lines = header_lines(rest);
    let person = |line: Option<&[u8]>, word: &[u8], what| {
        line.and_then(|line| line.strip_prefix(word)).ok_or(what).and_then(check_person)
    };
    person(lines.next(), b"author ", "its author is missing or out of place")?;
    person(lines.next(), b"committer ", "its committer is missing or out of place")?;
    check_head(content)
}

fn check_tag(content: &[u8]) -> Result<(), &'static str> {
    let mut rest = content;
    id_line(&mut rest, b"object ").ok_or("the first line is not its object")?;
    let mut lines = header_lines(rest);
    let kind = lines.next().and_then(|line| line.strip_prefix(b"type ")).ok_or("it has no type")?;
    Kind::from_word(kind).map_err(|_| "its type is none of Git's")?;
    let name = lines.next().and_then(|line| line.strip_prefix(b"tag ")).ok_or("it has no name")?;
    if name.is_empty() || name.contains(&b' ') {
        return Err("its name is empty or has a space");
    }
    if let Some(tagger) = lines.next().and_then(|line| line.strip_prefix(b"tagger ")) {
        check_person(tagger)?;
    }
    check_head(content)
}

/// nulInHeader, unterminatedHeader.
fn check_head(content: &[u8]) -> Result<(), &'static str> {
    let end = content.windows(2).position(|pair| pair == b"\n\n");
    let head = &content[..end.unwrap_or(content.len())];
    if head.contains(&0) {
        return Err("its header has a NUL");
    }
    if end.is_none() && !content.ends_with(b"\n") {
        return Err("its header is cut short");
    }
    Ok(())
}

/// `Name <address> seconds zone`, as fsck_ident reads it.
fn check_person(person: &[u8]) -> Result<(), &'static str> {
    let open = person.iter().position(|byte| matches!(byte, b'<' | b'>')).ok_or("a person has no address")?;
    if person[open] == b'>' || person.starts_with(b"<") {
        return Err("a person has no name, or a '>' in it");
    }
    if person[open - 1] != b' ' {
        return Err("no space stands before an address");
    }
    let rest = &person[open + 1..];
    let close = rest.iter().position(|byte| matches!(byte, b'<' | b'>')).ok_or("an address is not closed")?;
    if rest[close] == b'<' {
        return Err("an address has a '<' in it");
    }
    let date = rest[close + 1..].strip_prefix(b" ").ok_or("no date stands behind an address")?;
    let (seconds, zone) =
        date.split_at(date.iter().position(|byte| *byte == b' ').ok_or("a date has no zone")?);
    if seconds.is_empty() || !seconds.iter().all(u8::is_ascii_digit) {
        return Err("a date is no number");
    }
    if seconds.len() > 1 && seconds[0] == b'0' {
        return Err("a date begins with a zero");
    }
    if seconds.len() > 18 {
        return Err("a date is too far away");
    }
    match zone {
        [b' ', b'+' | b'-', digits @ ..] if digits.len() == 4 && digits.iter().all(u8::is_ascii_digit) => {
            Ok(())
        }
        _ => Err("a zone is not four digits with a sign"),
    }
}

/// hasDotgit: the name itself in any case, what NTFS makes of it (`git~1`, trailing dots, spaces and streams), and what
/// HFS+ makes of it (characters that it ignores).
pub fn is_dot_git(name: &[u8]) -> bool {
    is_ntfs_dot_git(name) || is_hfs_dot_git(name)
}

fn is_ntfs_dot_git(name: &[u8]) -> bool {
    // A backslash divides paths there.
    name.split(|byte| *byte == b'\\').any(|part| {
        let part = part.split(|byte| *byte == b':').next().unwrap_or(part);
        let trimmed = part.len() - part.iter().rev().take_while(|byte| matches!(byte, b'.' | b' ')).count();
        let part = &part[..trimmed];
        part.eq_ignore_ascii_case(b".git") || part.eq_ignore_ascii_case(b"git~1")
    })
}

fn is_hfs_dot_git(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let ignored = |one: &char| matches!(*one, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let visible = name.chars().filter(|one| !ignored(one)).map(|one| one.to_ascii_lowercase());
    visible.eq(".git".chars())
}

/// largePathname of git fsck.
const NAME_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (mode, name) in entries {
            out.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            out.extend_from_slice(&[7; 20]);
        }
        out
    }

    fn verdict(entries: &[(&str, &str)]) -> Result<(), Malformed> {
        check(Kind::Tree, &tree(entries))
    }

    #[test]
    fn trees_sort_directories_with_a_slash() {
        verdict(&[("100644", "a.b"), ("40000", "a"), ("100644", "a0")]).unwrap();
        assert!(verdict(&[("40000", "a"), ("100644", "a.b")]).is_err());
        assert!(verdict(&[("100644", "a"), ("100644", "a")]).is_err());
        assert!(
            verdict(&[("100644", "a"), ("100644", "a.b"), ("40000", "a")]).is_err(),
            "file and directory a"
        );
        assert!(verdict(&[("100644", "b"), ("100644", "a")]).is_err());
    }

    #[test]
    fn path_tricks_are_refused() {
        for name in [
            ".",
            "..",
            ".git",
            ".GIT",
            "git~1",
            ".git ",
            ".git.",
            ".git::$INDEX",
            "a/b",
            "",
            ".g\u{200c}it",
            "a\\.git",
        ] {
            assert!(verdict(&[("40000", name)]).is_err(), "{name:?}");
        }
        for name in [".gitignore", "git", "..a", "a b", "é", ".github", "git~2"] {
            verdict(&[("100644", name)]).unwrap();
        }
        assert!(verdict(&[("120000", ".gitmodules")]).is_err());
    }

    #[test]
    fn modes_are_gits() {
        for mode in ["040000", "100600", "10064", "0", "777777"] {
            assert!(verdict(&[(mode, "a")]).is_err(), "{mode}");
        }
    }

    #[test]
    fn commits_and_tags() {
        let tree = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
        let who = "A U Thor <a@x> 1700000000 +0100\n";
        let good = format!("{tree}author {who}committer {who}\nmessage\0with NUL");
        check(Kind::Commit, good.as_bytes()).unwrap();
        for bad in [
            format!("author {who}"),
            format!("{tree}committer {who}author {who}\n"),
            format!("{tree}author {who}\n"),
            format!("{tree}author A <a@x> 01 +0000\ncommitter {who}\n"),
            format!("{tree}author A a@x 1 +0000\ncommitter {who}\n"),
            format!("{tree}author A <a@x> 1 0000\ncommitter {who}\n"),
            format!("{tree}author A<a@x> 1 +0000\ncommitter {who}\n"),
            format!("{tree}author {who}committer {who}x\0y\n\n"),
        ] {
            assert!(check(Kind::Commit, bad.as_bytes()).is_err(), "{bad}");
        }
        let tag =
            format!("object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ntype tree\ntag v1\ntagger {who}\nx\n");
        check(Kind::Tag, tag.as_bytes()).unwrap();
        assert!(check(Kind::Tag, tag.replace("type tree", "type x").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_checked_without_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            for kind in [Kind::Commit, Kind::Tree, Kind::Tag] {
                let _ = check(kind, &content);
            }
            let _ = (super::super::parse::commit_links(&content), super::super::parse::tag_link(&content));
        }
    }
}
