#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn open_error(path: &Path) -> String {
    DataDir::open(path).unwrap_err().to_string()
}

#[test]
fn a_folder_has_one_owner_at_a_time() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let first = DataDir::open(&path).unwrap();
    let expected = format!(
        "data folder {path:?} is in use by process {}",
        std::process::id()
    );
    assert_eq!(open_error(&path), expected);
    drop(first);
    DataDir::open(&path).unwrap();
}

#[test]
fn the_lock_file_names_only_its_present_owner() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join(LOCK_FILE), "4294967295\nolder text\n").unwrap();
    let _open = DataDir::open(parent.path()).unwrap();
    let text = fs::read_to_string(parent.path().join(LOCK_FILE)).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
}

#[test]
fn bad_folders_are_one_clear_line() {
    let parent = tempfile::tempdir().unwrap();
    let orphan = parent.path().join("missing").join("data");
    assert!(open_error(&orphan).ends_with("its parent folder does not exist"));
    assert!(!parent.path().join("missing").exists());

    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(open_error(&file).ends_with("is not a folder"));
    assert!(open_error(&file.join("data")).ends_with("is not a folder"));

    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let message = DataDirError::of(&file, denied).to_string();
    assert!(message.ends_with("is not readable and writable by this user"));
}

#[test]
fn secrets_come_back_and_replace_whole() {
    let parent = tempfile::tempdir().unwrap();
    let data = DataDir::open(parent.path().join("data")).unwrap();
    assert!(data.read("key").unwrap().is_none());
    data.write_secret_file("key", b"a long first value")
        .unwrap();
    // What a crash in the middle of a write leaves behind.
    fs::write(data.join(".key.tmp"), "half").unwrap();
    data.write_secret_file("key", b"second").unwrap();
    assert_eq!(data.read("key").unwrap().unwrap().as_slice(), b"second");
    let mut names: Vec<_> = fs::read_dir(data.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["key", LOCK_FILE]);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = tempfile::tempdir().unwrap();
    let data = DataDir::open(parent.path().join("data")).unwrap();
    data.write_secret_file("key", b"value").unwrap();
    assert_eq!(mode(data.path()), 0o700);
    assert_eq!(mode(&data.join("key")), 0o600);
    assert_eq!(mode(&data.join(LOCK_FILE)), 0o600);
}

#[test]
fn names_cannot_leave_the_folder() {
    let parent = tempfile::tempdir().unwrap();
    let data = DataDir::open(parent.path()).unwrap();
    for bad in [
        "",
        ".",
        "..",
        "../key",
        "a/b",
        "/etc/passwd",
        "key/",
        LOCK_FILE,
    ] {
        let result = data.write_secret_file(bad, b"x");
        assert!(matches!(result, Err(DataDirError::Name { .. })), "{bad:?}");
        assert!(data.read(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_file_larger_than_any_secret_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let data = DataDir::open(parent.path()).unwrap();
    let most = vec![7; usize::try_from(SECRET_MAX_BYTES).unwrap()];
    data.write_secret_file("most", &most).unwrap();
    assert_eq!(data.read("most").unwrap().unwrap().len(), most.len());
    fs::write(data.join("more"), [most.as_slice(), b"x"].concat()).unwrap();
    let result = data.read("more");
    assert!(matches!(result, Err(DataDirError::TooLarge { .. })));
}
