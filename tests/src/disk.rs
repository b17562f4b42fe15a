//! A small disk of one's own, to fill.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted file system of a few hundred MiB: ext4 in a file, or a tmpfs where there is no loop device.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
    image: PathBuf,
}

/// Runs a program as root: as it is, or through `sudo` that asks nobody.
fn as_root(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", program]);
        sudo
    };
    let output = command.args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

impl SmallDisk {
    /// Mounts one at the folder `at`, which is made.
    ///
    /// # Errors
    /// Why it cannot be: neither root nor a `sudo` that asks nobody, or no such mounts here.
    pub fn mount(at: &Path, bytes: u64) -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        std::fs::create_dir_all(at).map_err(said)?;
        let disk = Self {
            at: at.to_owned(),
            image: at.with_extension("img"),
        };
        let (target, image) = (path(at), path(&disk.image));
        let image_file = File::create(&disk.image).map_err(said)?;
        image_file.set_len(bytes).map_err(said)?;
        // No blocks that only root may use: the node may be root.
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", &image])
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .status()
            .is_ok_and(|status| status.success());
        let size = format!("size={bytes}");
        let mounted = match made {
            true => as_root("mount", &["-o", "loop", &image, &target]),
            false => Err("no mkfs.ext4".to_owned()),
        };
        if let Err(why) = mounted {
            eprintln!("no ext4 in a file ({why}): a tmpfs instead");
            as_root("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &target])?;
        }
        if !rustix::process::geteuid().is_root() {
            let owner = rustix::process::geteuid().as_raw().to_string();
            as_root("chown", &[&owner, &target])?;
        }
        Ok(disk)
    }

    /// Takes room until `left` bytes are free. What is given ends that when it is dropped.
    #[must_use]
    pub fn fill_but(&self, left: u64) -> Ballast {
        let found = rustix::fs::statvfs(&self.at).unwrap();
        let free = found.f_bavail * found.f_frsize;
        let path = self.at.join("ballast");
        let file = File::create(&path).unwrap();
        let zeros = vec![0; 1024 * 1024];
        let (mut offset, end) = (0, free.saturating_sub(left));
        while offset < end {
            std::os::unix::fs::FileExt::write_all_at(&file, &zeros, offset).unwrap();
            offset += zeros.len() as u64;
        }
        file.sync_all().unwrap();
        Ballast(path)
    }
}

fn path(of: &Path) -> String {
    of.to_string_lossy().into_owned()
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there ends soon.
        if let Err(error) = as_root("umount", &["-l", &path(&self.at)]) {
            eprintln!("{} stays mounted: {error}", self.at.display());
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

/// Room that somebody else takes.
#[derive(Debug)]
pub struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
