//! What a module takes and gives, as far as it decides whether it is a script.

use wasmparser::{
    BinaryReaderError, Export, ExternalKind, FuncType, Import, Parser, Payload, TypeRef, ValType,
};

use super::{
    ScriptModuleError,
    wasi::{self, Function},
};
use crate::limits;

/// What a valid module declares.
#[derive(Default)]
pub(super) struct Shape {
    types: Vec<FuncType>,
    /// The type of each function, the imported ones first.
    functions: Vec<u32>,
    /// What it imports that there is not.
    refused: Vec<String>,
    /// Elements of each table at its start.
    tables: Vec<u64>,
    memory_min_bytes: u64,
    /// The function that it exports as `_start`.
    start: Option<u32>,
    exports_memory: bool,
}

impl Shape {
    /// # Errors
    /// None for modules that were found valid.
    pub(super) fn of(module: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut shape = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(types) => {
                    for kind in types.into_iter_err_on_gc_types() {
                        shape.types.push(kind?);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        shape.import(&import?);
                    }
                }
                Payload::FunctionSection(functions) => {
                    for kind in functions {
                        shape.functions.push(kind?);
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        shape.tables.push(table?.ty.initial);
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let pages = memory?.initial;
                        shape.memory_min_bytes =
                            pages.saturating_mul(limits::SCRIPT_PAGE_BYTES.into());
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        shape.export(&export?);
                    }
                }
                _ => {}
            }
        }
        Ok(shape)
    }

    fn import(&mut self, import: &Import<'_>) {
        let TypeRef::Func(kind) = import.ty else {
            let name = format!("{}.{}, which is no function", import.module, import.name);
            return self.refused.push(name);
        };
        self.functions.push(kind);
        let known = wasi::FUNCTIONS
            .iter()
            .find(|function| import.module == wasi::MODULE && function.name == import.name);
        match known {
            None => self
                .refused
                .push(format!("{}.{}", import.module, import.name)),
            Some(known) if !self.is_of_type(kind, known) => self.refused.push(format!(
                "{}.{} with other parameters or results",
                import.module, import.name
            )),
            Some(_) => {}
        }
    }

    fn is_of_type(&self, kind: u32, function: &Function) -> bool {
        let parameters = function.parameters.bytes().map(|letter| match letter {
            b'I' => ValType::I64,
            _ => ValType::I32,
        });
        let results: &[ValType] = match function.name {
            wasi::EXIT => &[],
            _ => &[ValType::I32],
        };
        self.kind(kind).is_some_and(|kind| {
            kind.params().iter().copied().eq(parameters) && kind.results() == results
        })
    }

    fn kind(&self, index: u32) -> Option<&FuncType> {
        self.types.get(usize::try_from(index).ok()?)
    }

    fn export(&mut self, export: &Export<'_>) {
        match (export.name, export.kind) {
            ("_start", ExternalKind::Func) => self.start = Some(export.index),
            ("memory", ExternalKind::Memory) => self.exports_memory = true,
            _ => {}
        }
    }

    /// Whether it is a script.
    pub(super) fn check(&self) -> Result<(), ScriptModuleError> {
        if !self.refused.is_empty() {
            return Err(ScriptModuleError::Imports(shown(&self.refused)));
        }
        let start = self.start.and_then(|start| {
            let kind = self.functions.get(usize::try_from(start).ok()?)?;
            self.kind(*kind)
        });
        if !start.is_some_and(|kind| kind.params().is_empty() && kind.results().is_empty()) {
            return Err(ScriptModuleError::NoStart);
        }
        if !self.exports_memory {
            return Err(ScriptModuleError::NoMemory);
        }
        let (count, elements) = (
            self.tables.len(),
            self.tables.iter().copied().max().unwrap_or_default(),
        );
        if count > limits::SCRIPT_TABLES_MAX as usize
            || elements > limits::SCRIPT_TABLE_ELEMENTS_MAX.into()
        {
            return Err(ScriptModuleError::Tables { count, elements });
        }
        Ok(())
    }

    pub(super) fn memory_min_bytes(&self) -> u64 {
        self.memory_min_bytes
    }
}

/// The first few of `names`, each cut to what fits in a message.
fn shown(names: &[String]) -> Vec<String> {
    const NAMES_MAX: usize = 5;
    const NAME_MAX_CHARS: usize = 120;
    let mut shown: Vec<String> = names
        .iter()
        .take(NAMES_MAX)
        .map(|name| name.chars().take(NAME_MAX_CHARS).collect())
        .collect();
    if names.len() > NAMES_MAX {
        shown.push(format!("{} more", names.len() - NAMES_MAX));
    }
    shown
}
