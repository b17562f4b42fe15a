#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

/// A module that does nothing, with `more` in it.
fn with(more: &str) -> String {
    format!("(module {more} (memory (export \"memory\") 1) (func (export \"_start\")))")
}

#[track_caller]
fn told(text: &str) -> String {
    ScriptModule::from_text(text).unwrap_err().to_string()
}

#[test]
fn a_command_is_taken_in_both_formats() {
    let module = ScriptModule::from_text(&with("")).unwrap();
    assert_eq!(module.memory_min_bytes(), 65_536);
    let again = ScriptModule::from_binary(module.bytes().clone()).unwrap();
    assert_eq!(module, again);
    let name = module.name();
    assert_eq!(name.len(), "sha256:".len() + 64);
    assert_eq!(
        format!("{module:?}"),
        format!("ScriptModule {{ name: {name:?}, .. }}")
    );
}

#[test]
fn all_of_wasi_may_be_imported() {
    let imports: String = wasi::FUNCTIONS
        .iter()
        .map(|function| {
            let parameters = function.parameters.bytes().map(|letter| match letter {
                b'I' => "i64 ",
                _ => "i32 ",
            });
            let parameters: String = parameters.collect();
            let result = match function.name {
                "proc_exit" => "",
                _ => "(result i32)",
            };
            let name = function.name;
            format!(
                "(import \"wasi_snapshot_preview1\" {name:?} (func (param {parameters}) {result}))\n"
            )
        })
        .collect();
    ScriptModule::from_text(&with(&imports)).unwrap();
}

#[test]
fn nothing_else_is_there() {
    for (import, name) in [
        (
            "(import \"env\" \"abort\" (func (param i32 i32 i32 i32)))",
            "imports env.abort;",
        ),
        (
            "(import \"wasi_snapshot_preview1\" \"sock_open\" (func (param i32 i32 i32) (result i32)))",
            "imports wasi_snapshot_preview1.sock_open;",
        ),
        (
            "(import \"wasi_snapshot_preview1\" \"fd_read\" (func (param i32) (result i32)))",
            "imports wasi_snapshot_preview1.fd_read with other parameters or results;",
        ),
        (
            "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32) (result i32)))",
            "imports wasi_snapshot_preview1.proc_exit with other",
        ),
        (
            "(import \"wasi_unstable\" \"fd_read\" (func (param i32 i32 i32 i32) (result i32)))",
            "imports wasi_unstable.fd_read;",
        ),
        (
            "(import \"wasi_snapshot_preview1\" \"clock\" (global i32))",
            "imports wasi_snapshot_preview1.clock, which is no function;",
        ),
    ] {
        let told = told(&with(import));
        assert!(told.starts_with(name), "{told}");
        assert!(
            told.ends_with(
                "there are only the functions of wasi_snapshot_preview1 (WASI preview 1)"
            ),
            "{told}"
        );
    }
    let many: String = (0..8)
        .map(|n| format!("(import \"env\" \"f{n}\" (func))"))
        .collect();
    let told = told(&with(&many));
    assert!(told.contains("env.f4, 3 more;"), "{told}");
}

#[test]
fn what_cannot_be_called_is_refused() {
    let memory = "(memory (export \"memory\") 1)";
    for text in [
        format!("(module {memory})"),
        format!("(module {memory} (func (export \"_initialize\")))"),
        format!("(module {memory} (func (export \"_start\") (param i32)))"),
        format!("(module {memory} (func (export \"_start\") (result i32) i32.const 0))"),
        format!("(module {memory} (global (export \"_start\") i32 i32.const 0))"),
    ] {
        assert!(
            told(&text).starts_with("exports no function _start"),
            "{text}"
        );
    }
    let text = "(module (memory 1) (func (export \"_start\")))";
    assert_eq!(told(text), "exports no memory called memory");
}

#[test]
fn tables_are_bounded() {
    let most = "(table 65536 funcref) (table 1 funcref) (table 0 funcref) (table 0 funcref)";
    ScriptModule::from_text(&with(most)).unwrap();
    assert_eq!(
        told(&with("(table 65537 funcref)")),
        "has 1 tables, the largest of 65537 elements; at most 4 of 65536 are allowed"
    );
    let five = "(table 0 funcref)".repeat(5);
    assert!(told(&with(&five)).starts_with("has 5 tables"));
}

#[test]
fn what_is_no_module_says_why() {
    let binary = |bytes: &'static [u8]| {
        let error = ScriptModule::from_binary(Bytes::from_static(bytes));
        error.unwrap_err().to_string()
    };
    for bytes in [&b""[..], b"\0as", b"\x7fELF", b"#!/bin/sh"] {
        assert!(binary(bytes).starts_with("is no WebAssembly module"));
    }
    let component = binary(b"\0asm\x0d\0\x01\0");
    assert!(component.contains("wasm32-wasip1"), "{component}");
    assert!(binary(b"\0asm\x02\0\0\0").starts_with("is no valid module: "));
    assert!(binary(b"\0asm\x01\0\0\0\x01\xff").starts_with("is no valid module: "));
    // Valid in its form, and not in its types.
    let text = with("(func (result i32) i64.const 0)");
    assert!(told(&text).contains("type mismatch"), "{}", told(&text));
    let text = told("(module\n  (func $f (nonsense)))");
    assert!(text.starts_with("is no WebAssembly text: "), "{text}");
    assert!(text.ends_with("(line 2, column 13)"), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

#[test]
fn newer_parts_of_webassembly_are_refused() {
    for text in [
        "(memory i64 1)",
        "(memory 1)",
        "(func (param externref))",
        "(func $f return_call $f)",
        "(tag)",
        "(memory 1 1 shared)",
        "(type (struct))",
    ] {
        let told = told(&with(text));
        assert!(told.starts_with("is no valid module: "), "{text}: {told}");
    }
    for text in [
        "(func (result v128) v128.const i32x4 0 0 0 0)",
        "(func (drop (i32.extend8_s (i32.const 1))))",
        "(func (drop (i32.trunc_sat_f32_s (f32.const 1))))",
        "(func (result i32 i32) i32.const 1 i32.const 2)",
        "(func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)))",
        "(global (export \"g\") (mut i32) (i32.const 0))",
    ] {
        ScriptModule::from_text(&with(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn large_modules_are_refused() {
    let data = |len: usize| {
        let data = "x".repeat(len);
        format!(
            "(module (memory (export \"memory\") 8) (data (i32.const 0) {data:?}) (func (export \"_start\")))"
        )
    };
    ScriptModule::from_text(&data(limits::SCRIPT_MODULE_MAX_BYTES - 200)).unwrap();
    let told = told(&data(limits::SCRIPT_MODULE_MAX_BYTES));
    assert!(told.ends_with("at most 393216 are allowed"), "{told}");
}

proptest! {
    /// Whatever is sent is refused or taken, and what is taken is the same again.
    #[test]
    fn any_bytes_are_looked_at(mut bytes: Vec<u8>, is_module: bool) {
        if is_module {
            bytes.splice(0..0, *b"\0asm\x01\0\0\0");
        }
        if let Ok(module) = ScriptModule::from_binary(bytes.into()) {
            prop_assert_eq!(ScriptModule::from_binary(module.bytes().clone()), Ok(module));
        }
    }

    /// The same of modules that were damaged.
    #[test]
    fn damaged_modules_are_looked_at(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let text = with("(func $f (param i32) (result i32) local.get 0) (table 1 funcref) (elem (i32.const 0) $f)");
        let mut bytes = ScriptModule::from_text(&text).unwrap().bytes().to_vec();
        *at.get_mut(&mut bytes) = byte;
        bytes.truncate(cut.index(bytes.len() * 4) + 1);
        let _ = ScriptModule::from_binary(bytes.into());
    }

    #[test]
    fn any_text_is_looked_at(text in r#"(\(|\)|module|func|param|i32| |"a"|\$x|[0-9]|memory|export|;;|\n){0,60}"#) {
        let _ = ScriptModule::from_text(&text);
    }
}
