//! Programs of `script` steps: WebAssembly modules for WASI preview 1, checked before anything runs them.

mod shape;
pub mod wasi;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use wasmparser::{BinaryReaderError, Validator, WasmFeatures};

use self::shape::Shape;
use crate::limits;

/// The extension of WebAssembly that modules may use: version 2.0 but for `externref`, which takes a garbage collector.
const FEATURES: WasmFeatures = WasmFeatures::WASM2.difference(WasmFeatures::GC_TYPES);

/// What every WebAssembly binary begins with.
const MAGIC: &[u8] = b"\0asm";
/// What follows in a component: the version of its format, and its layer, 1.
const COMPONENT_LAYER: [u8; 2] = [1, 0];

/// A valid module that imports nothing but WASI preview 1, exports `_start` and `memory`, and is within the limits. Its
/// `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScriptModule {
    bytes: Bytes,
    digest: [u8; 32],
    memory_min_bytes: u64,
}

/// Why bytes, or a text, are no [`ScriptModule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptModuleError {
    /// Not WebAssembly at all.
    #[error("is no WebAssembly module: it does not begin with \\0asm")]
    NotWebAssembly,
    /// A component, of WASI preview 2 or later.
    #[error(
        "is a component; expected a core module for WASI preview 1, such as the target wasm32-wasip1 gives"
    )]
    Component,
    /// Too many bytes.
    #[error("has {0} bytes; at most {max} are allowed", max = limits::SCRIPT_MODULE_MAX_BYTES)]
    TooLarge(usize),
    /// The text is no WAT.
    #[error("is no WebAssembly text: {0}")]
    Text(String),
    /// It breaks the rules of WebAssembly 2.0.
    #[error("is no valid module: {message} (at byte {offset})")]
    Invalid {
        /// Which rule.
        message: String,
        /// Where in the binary format, from 0.
        offset: usize,
    },
    /// It wants more than there is.
    #[error(
        "imports {}; there are only the functions of {} (WASI preview 1)",
        .0.join(", "),
        wasi::MODULE
    )]
    Imports(Vec<String>),
    /// Nothing can be called.
    #[error(
        "exports no function _start without parameters and results: expected a command, a program with a main function"
    )]
    NoStart,
    /// Nothing can be read or written.
    #[error("exports no memory called memory")]
    NoMemory,
    /// More, or larger, tables than there may be.
    #[error(
        "has {count} tables, the largest of {elements} elements; at most {} of {} are allowed",
        limits::SCRIPT_TABLES_MAX,
        limits::SCRIPT_TABLE_ELEMENTS_MAX
    )]
    Tables {
        /// Tables.
        count: usize,
        /// Elements of the largest, at its start.
        elements: u64,
    },
}

impl ScriptModule {
    /// The module of these bytes, in the binary format.
    ///
    /// # Errors
    /// [`ScriptModuleError`].
    pub fn from_binary(bytes: Bytes) -> Result<Self, ScriptModuleError> {
        if !bytes.starts_with(MAGIC) {
            return Err(ScriptModuleError::NotWebAssembly);
        }
        if bytes.get(6..8) == Some(&COMPONENT_LAYER) {
            return Err(ScriptModuleError::Component);
        }
        if bytes.len() > limits::SCRIPT_MODULE_MAX_BYTES {
            return Err(ScriptModuleError::TooLarge(bytes.len()));
        }
        Validator::new_with_features(FEATURES)
            .validate_all(&bytes)
            .map_err(|error| invalid(&error))?;
        let shape = Shape::of(&bytes).map_err(|error| invalid(&error))?;
        shape.check()?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        Ok(Self {
            memory_min_bytes: shape.memory_min_bytes(),
            digest: sha256,
            bytes,
        })
    }

    /// The module of this text, WAT.
    ///
    /// # Errors
    /// [`ScriptModuleError`].
    pub fn from_text(text: &str) -> Result<Self, ScriptModuleError> {
        let bytes = wat::parse_str(text)
            .map_err(|error| ScriptModuleError::Text(located(&error.to_string())))?;
        Self::from_binary(bytes.into())
    }

    /// The binary format.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of it.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The same for people: `sha256:` and 64 digits.
    #[must_use]
    pub fn name(&self) -> String {
        format!("sha256:{}", HEXLOWER.encode(&self.digest))
    }

    /// Size of its memory at its start, in bytes.
    #[must_use]
    pub fn memory_min_bytes(&self) -> u64 {
        self.memory_min_bytes
    }
}

impl fmt::Debug for ScriptModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptModule")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

fn invalid(error: &BinaryReaderError) -> ScriptModuleError {
    ScriptModuleError::Invalid {
        message: error.message().to_owned(),
        offset: error.offset(),
    }
}

/// An error of the text format in one line: what it says, and where, without the picture of the line.
fn located(error: &str) -> String {
    let mut lines = error.lines().map(str::trim);
    let message = lines.next().unwrap_or_default();
    let place = lines.find_map(|line| line.strip_prefix("--> <anon>:")?.split_once(':'));
    match place {
        Some((line, column)) => format!("{message} (line {line}, column {column})"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
