//! How a process ends with an error: one line on stderr and a code a script can act on.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// Exit codes: `clap`'s for usage, and those of BSD `sysexits.h` that we need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It was understood and did not succeed.
    Failure = 1,
    /// The command line is wrong (what `clap` exits with).
    Usage = 2,
    /// The configuration is wrong: a flag's value, a file, a folder, a port.
    Config = 64,
    /// The input data is wrong (`EX_DATAERR`).
    Data = 65,
    /// A service that is needed is not there (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A fault of ours (`EX_SOFTWARE`).
    Software = 70,
    /// The caller may not do this (`EX_NOPERM`).
    NoPermission = 77,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Prints `error: a: b: c` on stderr, the chain of `error` in one line, and returns the code.
pub fn fail(code: Code, error: &dyn Error) -> ExitCode {
    // Nothing is left to do where even stderr is closed.
    let _closed = writeln!(std::io::stderr().lock(), "error: {}", chain(error));
    code.into()
}

/// The messages of `error` and its sources in one line, joined by `: `.
///
/// Our own errors never repeat their source; those of some libraries do, so a source that the text
/// already ends with is left out. Line breaks become spaces.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = one_line(&error.to_string());
    let mut next = error.source();
    while let Some(source) = next {
        let message = one_line(&source.to_string());
        if !message.is_empty() && !line.ends_with(&message) {
            line.push_str(": ");
            line.push_str(&message);
        }
        next = source.source();
    }
    line
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Layer {
        message: &'static str,
        source: Option<Box<Layer>>,
    }

    fn stack(messages: &[&'static str]) -> Layer {
        let (message, rest) = messages.split_first().unwrap_or((&"", &[]));
        let source = (!rest.is_empty()).then(|| Box::new(stack(rest)));
        Layer { message, source }
    }

    #[test]
    fn the_chain_is_one_line() {
        assert_eq!(chain(&stack(&["a", "b", "c"])), "a: b: c");
        assert_eq!(chain(&stack(&["a\n  b", "c"])), "a b: c");
    }

    #[test]
    fn a_repeated_source_is_said_once() {
        assert_eq!(chain(&stack(&["open: denied", "denied"])), "open: denied");
    }

    #[test]
    fn codes_are_what_scripts_rely_on() {
        let codes = [
            (Code::Usage, 2),
            (Code::Config, 64),
            (Code::Data, 65),
            (Code::Unavailable, 69),
            (Code::Software, 70),
            (Code::NoPermission, 77),
        ];
        for (code, number) in codes {
            assert_eq!(code as u8, number);
            assert_eq!(ExitCode::from(code), ExitCode::from(number));
        }
    }
}
