//! Stock git against the server, on a repository in memory.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;

use git_wire::memory::MemoryRepository;

use super::serve::serve;

/// Starts a server on a free port; it lives as long as the test program.
fn start(allow_push: bool) -> (Arc<MemoryRepository>, String) {
    let repository = Arc::new(MemoryRepository::new());
    let (send, receive) = channel();
    let served = repository.clone();
    std::thread::spawn(move || {
        serve(served, ([127, 0, 0, 1], 0).into(), allow_push, |address| send.send(address).unwrap())
    });
    (repository, format!("http://{}/store.git", receive.recv().unwrap()))
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let (ok, text) = try_git(folder, arguments);
    assert!(ok, "git {arguments:?}: {text}");
    text
}

fn try_git(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let done = Command::new("git")
        .args(["-c", "protocol.version=2", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@x"),
            ("GIT_COMMITTER_NAME", "C"),
            ("GIT_COMMITTER_EMAIL", "c@x"),
        ])
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), text)
}

fn commit(work: &Path, name: &str, content: &str) {
    let path = work.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    git(work, &["add", "-A"]);
    git(work, &["commit", "-q", "-m", name]);
}

fn history(folder: &Path) -> String {
    git(folder, &["log", "--format=%H", "--all", "--topo-order"])
}

fn work_tree(root: &Path) -> std::path::PathBuf {
    let work = root.join("work");
    git(root, &["init", "-q", "-b", "main", "work"]);
    for number in 0..20 {
        commit(&work, &format!("dir{}/file{number}", number % 3), &format!("content {number}\n").repeat(40));
    }
    git(&work, &["tag", "-a", "v1", "-m", "one"]);
    git(&work, &["checkout", "-q", "-b", "side", "HEAD~5"]);
    commit(&work, "side.txt", "side");
    git(&work, &["checkout", "-q", "main"]);
    git(&work, &["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    work
}

#[test]
fn git_pushes_clones_and_fetches() {
    for version in ["2", "0"] {
        let root = tempfile::tempdir().unwrap();
        let (_, url) = start(true);
        let work = work_tree(root.path());
        let version = format!("protocol.version={version}");
        git(&work, &["-c", &version, "push", "-q", "--all", &url]);
        git(&work, &["-c", &version, "push", "-q", "--tags", &url]);
        git(root.path(), &["-c", &version, "clone", "-q", &url, "copy"]);
        let copy = root.path().join("copy");
        git(&copy, &["fsck", "--full", "--strict"]);
        assert_eq!(history(&work), history(&copy));
        commit(&work, "later", "x");
        git(&work, &["push", "-q", &url, "main"]);
        git(&copy, &["-c", &version, "pull", "-q"]);
        assert_eq!(git(&work, &["rev-parse", "main"]), git(&copy, &["rev-parse", "main"]));
        git(&work, &["push", "-q", &url, ":side"]);
        git(&copy, &["-c", &version, "fetch", "-q", "--prune"]);
        assert!(!git(&copy, &["branch", "-r"]).contains("side"));
    }
}

#[test]
fn git_clones_shallow_and_partial() {
    let root = tempfile::tempdir().unwrap();
    let (_, url) = start(true);
    let work = work_tree(root.path());
    git(&work, &["push", "-q", "--all", &url]);
    for version in ["protocol.version=2", "protocol.version=0"] {
        let copy = root.path().join(version);
        git(
            root.path(),
            &["-c", version, "clone", "-q", "--depth", "3", "--no-single-branch", &url, version],
        );
        git(&copy, &["fsck", "--full", "--strict"]);
        let shallow = git(&copy, &["rev-list", "--count", "--all"]);
        git(&copy, &["-c", version, "fetch", "-q", "--deepen", "2"]);
        let deeper = git(&copy, &["rev-list", "--count", "--all"]);
        assert!(deeper.trim().parse::<u32>().unwrap() > shallow.trim().parse().unwrap());
        git(&copy, &["fsck", "--full", "--strict"]);
        git(&copy, &["-c", version, "fetch", "-q", "--unshallow"]);
        assert_eq!(history(&copy), history(&work));
        git(&copy, &["fsck", "--full", "--strict"]);
        let not = root.path().join(format!("{version}-not"));
        git(
            root.path(),
            &["-c", version, "clone", "-q", "--shallow-exclude=side", &url, not.to_str().unwrap()],
        );
        git(&not, &["fsck", "--full", "--strict"]);
    }
    for filter in ["blob:none", "tree:0", "blob:limit=100"] {
        let copy = root.path().join(filter.replace(':', "-"));
        git(root.path(), &["clone", "-q", "--no-checkout", "--filter", filter, &url, copy.to_str().unwrap()]);
        git(&copy, &["checkout", "-q", "main"]);
        assert!(copy.join("side.txt").exists(), "{filter}");
        git(&copy, &["log", "--stat"]);
    }
}

#[test]
fn pushing_wants_permission_and_dumb_http_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (repository, url) = start(false);
    let work = work_tree(root.path());
    let (ok, text) = try_git(&work, &["push", &url, "main"]);
    assert!(!ok && text.contains("403"), "{text}");
    assert!(repository.is_empty());
    let (ok, text) = try_git(root.path(), &["clone", &format!("{url}x"), "none"]);
    assert!(!ok && text.contains("not found"), "{text}");
}

#[test]
fn an_empty_repository_is_cloned() {
    let root = tempfile::tempdir().unwrap();
    let (_, url) = start(true);
    git(root.path(), &["clone", "-q", &url, "copy"]);
    assert_eq!(git(&root.path().join("copy"), &["symbolic-ref", "HEAD"]).trim(), "refs/heads/main");
}

#[test]
fn atomic_pushes_and_forced_ones() {
    let root = tempfile::tempdir().unwrap();
    let (repository, url) = start(true);
    let work = work_tree(root.path());
    git(&work, &["push", "-q", "--atomic", &url, "main", "side", "v1"]);
    let before = repository.get_ref("refs/heads/main").unwrap().to_string();
    git(&work, &["reset", "-q", "--hard", "HEAD~2"]);
    commit(&work, "other", "y");
    let (ok, _) = try_git(&work, &["push", "-q", &url, "main"]);
    assert!(!ok);
    assert_eq!(repository.get_ref("refs/heads/main").unwrap().to_string(), before);
    git(&work, &["push", "-q", "--force", "-o", "ci.skip", &url, "main"]);
    assert_eq!(
        repository.get_ref("refs/heads/main").unwrap().to_string(),
        git(&work, &["rev-parse", "main"]).trim()
    );
    let (ok, text) = try_git(&work, &["push", &url, ":main"]);
    assert!(!ok && text.contains("prohibited"), "{text}");
}
