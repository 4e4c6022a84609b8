//! The program's environment: what the machine was started with, and what the program makes of it.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::c_char;

use crate::errno::Errno;

/// Variables, `NAME=value` each, and the array in which C looks for them.
#[derive(Debug)]
pub struct Environment {
    words: Vec<CString>,
    /// One for each word, and a null pointer at the end.
    pointers: Vec<*const c_char>,
}

impl Environment {
    /// No variables.
    pub const EMPTY: Self = Environment { words: Vec::new(), pointers: Vec::new() };

    /// Adds words as they are; one that holds a NUL is left out.
    pub fn extend<W: Into<Vec<u8>>>(&mut self, words: impl IntoIterator<Item = W>) {
        self.words.extend(words.into_iter().filter_map(|word| CString::new(word).ok()));
        self.index();
    }

    /// Sets a variable, unless it is there and stays. EINVAL for a name that is none.
    pub fn set(&mut self, name: &[u8], value: &[u8], replace: bool) -> Result<(), Errno> {
        check(name)?;
        let word = CString::new([name, b"=", value].concat()).map_err(|_| Errno(libc::EINVAL))?;
        match self.words.iter().position(|word| value_of(word, name).is_some()) {
            Some(_) if !replace => return Ok(()),
            Some(at) => self.words[at] = word,
            None => self.words.push(word),
        }
        self.index();
        Ok(())
    }

    /// Removes a variable. EINVAL for a name that is none.
    pub fn remove(&mut self, name: &[u8]) -> Result<(), Errno> {
        check(name)?;
        self.words.retain(|word| value_of(word, name).is_none());
        self.index();
        Ok(())
    }

    /// A variable's value, until the environment is changed.
    pub fn get(&self, name: &[u8]) -> Option<*const c_char> {
        self.words.iter().find_map(|word| value_of(word, name))
    }

    /// The array that C calls `environ`, until the environment is changed.
    pub fn pointers(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    fn index(&mut self) {
        self.pointers.clear();
        self.pointers.extend(self.words.iter().map(|word| word.as_ptr()).chain([core::ptr::null()]));
    }
}

/// Where in `NAME=value` the value is, if this is the name.
fn value_of(word: &CString, name: &[u8]) -> Option<*const c_char> {
    let value = word.as_bytes_with_nul().strip_prefix(name)?.strip_prefix(b"=")?;
    Some(value.as_ptr().cast())
}

fn check(name: &[u8]) -> Result<(), Errno> {
    if name.is_empty() || name.contains(&b'=') { Err(Errno(libc::EINVAL)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    fn value(environment: &Environment, name: &str) -> Option<std::string::String> {
        // SAFETY: `get` points into a word, which ends with NUL.
        environment.get(name.as_bytes()).map(|at| unsafe { CStr::from_ptr(at) }.to_str().unwrap().into())
    }

    fn count(environment: &Environment) -> usize {
        // SAFETY: the array ends with a null pointer.
        (0..).take_while(|&at| unsafe { !(*environment.pointers().add(at)).is_null() }).count()
    }

    #[test]
    fn variables_are_set_replaced_and_removed() {
        let mut environment = Environment::EMPTY;
        environment.extend(["ONE=1", "TWO=2=2", "no variable"]);
        assert_eq!(
            (value(&environment, "ONE"), value(&environment, "TWO")),
            (Some("1".into()), Some("2=2".into()))
        );
        assert_eq!(value(&environment, "ON"), None);
        environment.set(b"ONE", b"", true).unwrap();
        environment.set(b"TWO", b"other", false).unwrap();
        environment.set(b"THREE", b"3", false).unwrap();
        let now = ["ONE", "TWO", "THREE"].map(|name| value(&environment, name).unwrap());
        assert_eq!(now, ["", "2=2", "3"]);
        assert_eq!(count(&environment), 4);
        environment.remove(b"TWO").unwrap();
        environment.remove(b"NONE").unwrap();
        assert_eq!((value(&environment, "TWO"), count(&environment)), (None, 3));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let mut environment = Environment::EMPTY;
        environment.extend(["ONE=1"]);
        for name in ["", "A=B"] {
            assert_eq!(environment.set(name.as_bytes(), b"x", true), Err(Errno(libc::EINVAL)));
            assert_eq!(environment.remove(name.as_bytes()), Err(Errno(libc::EINVAL)));
        }
        assert_eq!(environment.set(b"A", b"with\0NUL", true), Err(Errno(libc::EINVAL)));
        assert_eq!(count(&environment), 1);
    }
}
