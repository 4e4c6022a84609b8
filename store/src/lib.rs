//! A branchable, mergeable, Git-compatible store on a file or a bare disk.
