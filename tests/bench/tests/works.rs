//! The bench works: each variant answers each message with 200, and what is to be written is written. How fast is not
//! looked at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_variant_is_measured_without_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let document = dir.path().join("document.md");
    std::fs::write(
        &document,
        "before\n<!-- bench ingest -->\n<!-- end of bench ingest -->\nafter\n",
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_signalbox-bench"))
        .args(["ingest", "--rounds", "1", "--duration-ms", "1000"])
        .args(["--connections", "4", "--body-bytes", "1536"])
        .args(["--messages", "256", "--out"])
        .arg(dir.path())
        .arg("--markdown")
        .arg(&document)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let json = std::fs::read(dir.path().join("ingest.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let median = &row["median"];
        assert_eq!(median["errors"], 0.0, "{row}");
        assert!(median["requests"].as_f64().unwrap() > 0.0, "{row}");
        let syncs = median["syncs_per_s"].as_f64().unwrap();
        let is_bare = ["hyper", "verify"].contains(&row["variant"].as_str().unwrap());
        assert_eq!(syncs == 0.0, is_bare, "{row}");
    }
    // Held back means held back: else the row says nothing.
    let executed = |variant: &str| {
        let of_it = rows.iter().filter(|row| row["variant"] == variant);
        of_it
            .map(|row| row["median"]["executions_per_s"].as_f64().unwrap())
            .sum::<f64>()
    };
    assert_eq!(executed("held"), 0.0);
    assert!(executed("signalbox") + executed("tls") > 0.0);
    let document = std::fs::read_to_string(&document).unwrap();
    assert!(document.starts_with("before\n") && document.ends_with("\nafter\n"));
    assert!(document.contains("| c/b | 1.5 KiB | 4 |"), "{document}");
    assert!(dir.path().join("document/ingest-1536.svg").exists());
}

#[test]
fn a_history_is_listed_and_reported_on_top_of() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_signalbox-bench"))
        .args(["history", "--executions", "1000", "--reported", "400"])
        .args(["--lists", "3", "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let json = std::fs::read(dir.path().join("history.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["lists"].as_array().unwrap().len(), 8);
    assert!(json["reports_after_per_s"].as_f64().unwrap() > 0.0);
}
