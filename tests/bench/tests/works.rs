//! The bench works: each variant answers each message with 200, and what is to be written is written. How fast is not
//! looked at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use serde_json::Value;

/// Runs a subcommand whose section is in a document, and gives its JSON and the document.
fn run(section: &str, arguments: &[&str]) -> (Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let document = dir.path().join("document.md");
    let empty = format!("<!-- bench {section} -->\n<!-- end of bench {section} -->\n");
    std::fs::write(&document, empty).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_signalbox-bench"))
        .arg(section)
        .args(arguments)
        .arg("--out")
        .arg(dir.path())
        .arg("--markdown")
        .arg(&document)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let json = std::fs::read(dir.path().join(format!("{section}.json"))).unwrap();
    let document = std::fs::read_to_string(&document).unwrap();
    (serde_json::from_slice(&json).unwrap(), document)
}

#[test]
fn messages_are_followed_to_their_ends() {
    let arguments = ["--alone", "--messages", "100", "--rounds", "1"];
    let paced = [
        "--rates",
        "40",
        "--duration-ms",
        "1000",
        "--connections",
        "8",
    ];
    let (json, document) = run("end-to-end", &[&arguments[..], &paced[..]].concat());
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row["errors"], 0.0, "{row}");
        assert!(row["per_s"].as_f64().unwrap() > 0.0, "{row}");
        let paced = &row["paced"][0];
        assert_eq!(paced["executions"], 40, "{row}");
        // Nothing is seen before it has ended.
        let (ended, seen) = (&paced["ended"], &paced["seen"]);
        for field in ["p50_ms", "p99_ms", "max_ms"] {
            let ended = ended[field].as_f64().unwrap();
            assert!(
                ended > 0.0 && seen[field].as_f64().unwrap() > ended,
                "{row}"
            );
        }
    }
    assert!(
        document.contains("| transform | Signalbox | 40 |"),
        "{document}"
    );
    assert!(json["bars"][0]["is_met"].as_bool().unwrap());
}

#[test]
fn executions_that_wait_are_parked_and_go_on_when_they_are_due() {
    let arguments = ["--executions", "200", "--every", "100", "--lead-s", "25"];
    let (json, document) = run("waiting", &[&arguments[..], &["--spread-s", "2"]].concat());
    let waiting = |looks: &str| {
        let looks = json[looks].as_array().unwrap();
        looks.last().unwrap()["waiting"].as_u64().unwrap()
    };
    assert_eq!(waiting("coming"), 200, "{json}");
    assert_eq!(json["coming"][0]["waiting"], 0, "{json}");
    let lateness = &json["lateness"];
    assert_eq!(lateness["succeeded"], 200, "{json}");
    assert_eq!(lateness["early"], 0, "{json}");
    assert!(
        document.contains("200 executions wait at once"),
        "{document}"
    );
}

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

#[test]
fn nodes_are_told_beside_a_stuck_one_and_come_back_when_they_are_cut_off() {
    let arguments = ["--nodes", "3,12", "--workflows", "300", "--keys", "300"];
    let (json, document) = run(
        "nodes",
        &[&arguments[..], &["--revocations", "30"]].concat(),
    );
    let revoked = json["revoked"].as_array().unwrap();
    let nodes: Vec<_> = revoked.iter().map(|row| row["nodes"].clone()).collect();
    assert_eq!(nodes, [3, 12, 12], "{json}");
    for row in revoked {
        assert!(row["last_p99_ms"].as_f64().unwrap() > 0.0, "{row}");
    }
    // Each node is sent the same.
    let bytes = |row: usize| revoked[row]["bytes"].as_f64().unwrap();
    let ratio = bytes(1) / bytes(0);
    assert!((3.5..4.5).contains(&ratio), "{json}");
    let storms = json["storms"].as_array().unwrap();
    assert_eq!(storms.len(), 2, "{json}");
    for storm in storms {
        assert!(storm["streams"].as_u64().unwrap() >= 12, "{storm}");
    }
    // All of it to each.
    assert!(storms[1]["mib"].as_f64().unwrap() > 20.0 * storms[0]["mib"].as_f64().unwrap());
    assert!(json["stuck_for_s"].as_f64().is_some(), "{json}");
    assert!(document.contains("| 12 and a stuck one |"), "{document}");
}
