//! Names of refs (git check-ref-format).

/// Whether a ref may be called so: under `refs/`, at least two parts, and none of what Git forbids.
pub fn check_ref_name(name: &[u8]) -> Result<(), &'static str> {
    let rest = name.strip_prefix(b"refs/").ok_or("a ref begins with refs/")?;
    if name.len() > NAME_BYTES_MAX {
        return Err("the name is longer than 1,024 bytes");
    }
    if !rest.contains(&b'/') {
        return Err("a ref has at least two parts behind refs/, such as heads/main");
    }
    let forbidden = |byte: &u8| *byte < 0x20 || *byte == 0x7f || b" ~^:?*[\\".contains(byte);
    if name.iter().any(forbidden) {
        return Err("the name has a space, a control character or one of ~^:?*[\\");
    }
    if name.windows(2).any(|pair| pair == b".." || pair == b"@{") || name.ends_with(b".") {
        return Err("the name has '..' or '@{', or ends in a dot");
    }
    for part in name.split(|byte| *byte == b'/') {
        if part.is_empty() {
            return Err("a part of the name is empty");
        }
        if part.starts_with(b".") || part.ends_with(b".lock") {
            return Err("a part of the name begins with a dot or ends in .lock");
        }
    }
    Ok(())
}

const NAME_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::check_ref_name;

    #[test]
    fn names_of_git_check_ref_format() {
        for good in [
            "refs/heads/main",
            "refs/tags/v1.0",
            "refs/heads/a/b",
            "refs/heads/é",
            "refs/heads/@",
            "refs/x/-y",
        ] {
            check_ref_name(good.as_bytes()).unwrap();
        }
        for bad in [
            "HEAD",
            "main",
            "refs/heads",
            "refs/heads/",
            "refs//main",
            "refs/heads/.x",
            "refs/heads/x.lock",
            "refs/heads/x.lock/y",
            "refs/heads/a..b",
            "refs/heads/a b",
            "refs/heads/a~",
            "refs/heads/a^",
            "refs/heads/a:b",
            "refs/heads/a?",
            "refs/heads/a*",
            "refs/heads/a[",
            "refs/heads/a\\b",
            "refs/heads/a@{b",
            "refs/heads/a.",
            "refs/heads/a\n",
            "refs/heads/../../config",
            "/refs/heads/a",
        ] {
            assert!(check_ref_name(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
