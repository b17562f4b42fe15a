//! Where there is room for more.

/// Where the store may write, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spool) struct Room {
    /// Free on its disk, as far as that says.
    pub(in crate::spool) disk: u64,
    /// Free inside its file, where something was forgotten.
    pub(in crate::spool) file: u64,
    /// Size of its write-ahead log, which is written over when the file has what it holds.
    pub(in crate::spool) wal: u64,
}

impl Room {
    /// What is left of disk and file when `bytes` more are taken: they are written twice, to the write-ahead log, and from
    /// there to the file. None: there is no room for them.
    ///
    /// Without the second the first could never be written over, and then nothing could be written any more: neither what
    /// ends an execution nor what forgets one.
    pub(in crate::spool) fn after(&self, bytes: u64) -> Option<u64> {
        let grown = bytes.saturating_sub(self.wal) + bytes.saturating_sub(self.file);
        let disk = self.disk.checked_sub(grown)?;
        Some(disk.saturating_add(self.file.saturating_sub(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_twice_where_nothing_can_be_written_over() {
        let room = |disk, file, wal| Room { disk, file, wal };
        assert_eq!(room(100, 0, 0).after(30), Some(40));
        assert_eq!(room(100, 0, 0).after(51), None);
        assert_eq!(room(100, 0, 20).after(30), Some(60));
        assert_eq!(room(100, 50, 20).after(30), Some(110));
        assert_eq!(room(0, 50, 30).after(30), Some(20));
        assert_eq!(room(0, 50, 29).after(30), None);
        assert_eq!(room(u64::MAX, 9, 0).after(1), Some(u64::MAX));
    }
}
