//! Bounds on what is parsed. CalDAV and CardDAV servers advertise them (max-resource-size, RFC 4791 5.2.5).

/// How much a document may hold. Everything above is refused before it is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of a whole document in bytes.
    pub document_bytes_max: usize,
    /// Number of logical lines.
    pub lines_max: usize,
    /// Length of one logical line in bytes, folds included; a photo is one line.
    pub line_bytes_max: usize,
    /// Parameters of one line, and values of one parameter.
    pub parameters_max: usize,
    /// Components inside components.
    pub depth_max: usize,
}

impl Default for Limits {
    /// 10 MiB, 200,000 lines, lines of 8 MiB, 1,000 parameters, 32 levels.
    fn default() -> Limits {
        Limits {
            document_bytes_max: 10 << 20,
            lines_max: 200_000,
            line_bytes_max: 8 << 20,
            parameters_max: 1_000,
            depth_max: 32,
        }
    }
}

/// A document exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// The whole document.
    #[error("the document has {0} bytes, more than the {1} allowed")]
    Document(usize, usize),
    /// Its number of lines.
    #[error("the document has more than {0} lines")]
    Lines(usize),
    /// One line: its index and the limit.
    #[error("line {0} is longer than {1} bytes")]
    Line(usize, usize),
    /// The parameters of one line: its index and the limit.
    #[error("line {0} has more than {1} parameters or values of one")]
    Parameters(usize, usize),
    /// Components nested too deep: the line of the BEGIN and the limit.
    #[error("line {0} opens more than {1} components inside each other")]
    Depth(usize, usize),
}
