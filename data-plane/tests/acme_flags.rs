//! Flags that are wrong, or do not go together, tried on the binary: those of automatic certificates first.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output};

fn run(data_dir: &std::path::Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_signalbox-data-plane"))
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(data_dir)
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn each_wrong_combination_is_one_line() {
    const DOMAIN: [&str; 2] = ["--acme-domain", "hooks.example.com"];
    const TERMS: &str = "--acme-accept-terms";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "=== no key, and so secret ===").unwrap();
    let file = file.to_str().unwrap();
    let missing = dir.path().join("missing");
    let missing = missing.to_str().unwrap();
    let with = |more: &[&'static str]| [&DOMAIN[..], more].concat();
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (with(&[]), "--acme-domain needs --acme-accept-terms"),
        (vec![TERMS], "--acme-accept-terms needs --acme-domain"),
        (
            vec!["--acme-contact", "a@example.com"],
            "--acme-contact needs --acme-domain",
        ),
        (
            [
                &with(&[TERMS])[..],
                &["--tls-cert", file, "--tls-key", file],
            ]
            .concat(),
            "--acme-domain cannot be used with --tls-cert",
        ),
        (
            with(&[TERMS, "--acme-eab-kid", "kid"]),
            "--acme-eab-kid and --acme-eab-hmac-file need each other",
        ),
        (
            [
                &with(&[TERMS, "--acme-eab-kid", "kid"])[..],
                &["--acme-eab-hmac-file", file],
            ]
            .concat(),
            "holds no HMAC key",
        ),
        (
            [
                &with(&[TERMS, "--acme-eab-kid", "kid"])[..],
                &["--acme-eab-hmac-file", missing],
            ]
            .concat(),
            "missing\" cannot be read",
        ),
        (
            [&with(&[TERMS])[..], &["--acme-ca", missing]].concat(),
            "missing\" cannot be read",
        ),
    ];
    for (args, expected) in cases {
        let output = run(&dir.path().join("data"), &args);
        let said = String::from_utf8(output.stderr).unwrap();
        let error: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(output.status.code(), Some(64), "{args:?}: {said}");
        assert_eq!(error.len(), 1, "{args:?}: {said}");
        assert!(error[0].contains(expected), "{args:?}: {said}");
        assert!(!said.contains("secret"), "{args:?}: {said}");
    }
}

#[test]
fn what_is_no_domain_is_no_usage() {
    let dir = tempfile::tempdir().unwrap();
    for (flag, value, expected) in [
        ("--acme-domain", "*.example.com", "wildcard"),
        ("--acme-domain", "192.0.2.1", "it is an address"),
        ("--acme-contact", "nobody", "no contact"),
        ("--acme-directory", "http://acme.example.com/", "https"),
    ] {
        let output = run(&dir.path().join("data"), &[flag, value]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{value}: {said}");
        assert!(said.contains(expected), "{value}: {said}");
    }
}

#[test]
fn what_needs_or_excludes_another_flag_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let token = "sbe_a-secret-that-nobody-is-to-see";
    for (args, told) in [
        (&["--tls-client-ca", "ca.pem"][..], "--tls-cert"),
        (
            &["--control-plane-client-cert", "a.pem"],
            "--control-plane-client-key",
        ),
        (
            &["--enrollment-token", token, "--token", "t"],
            "cannot be used with",
        ),
        (
            &["--enrollment-token-file", "a", "--token-file", "b"],
            "cannot be used with",
        ),
        (
            &["--enrollment-token-file", "a", "--enrollment-token", token],
            "cannot be used with",
        ),
        (&["--node-id", "Not One"], "a node id"),
    ] {
        let output = run(dir.path(), args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(told), "{args:?}: {error}");
        assert!(!error.contains(token), "{error}");
    }
}

#[test]
fn a_size_out_of_its_range_is_told_with_the_range() {
    let dir = tempfile::tempdir().unwrap();
    for (flag, values, range) in [
        (
            "--body-max-bytes",
            ["0", "4000001", "4194304", "-1", "2MiB"],
            "expected 1 to 4000000 bytes",
        ),
        (
            "--bodies-max-bytes",
            ["0", "15999999", "1048576", "-1", "2GiB"],
            "expected 16000000 bytes or more",
        ),
    ] {
        for value in values {
            let output = run(&dir.path().join("data"), &[&format!("{flag}={value}")]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{value}: {said}");
            assert!(said.contains(flag) && said.contains(range), "{said}");
        }
    }
}
