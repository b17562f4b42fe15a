//! What an execution is told from others by, where many are remembered.

use signalbox_model::ids::ExecutionName;

/// 128 bits of an execution's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::spool) struct Key(pub(in crate::spool) [u64; 2]);

impl Key {
    pub(in crate::spool) fn of(name: &ExecutionName) -> Self {
        Self::of_parts(name.project.as_str(), name.execution.as_str())
    }

    fn of_parts(project: &str, execution: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(project.as_bytes());
        hasher.update(b"/");
        hasher.update(execution.as_bytes());
        let hash = hasher.finalize();
        let first = hash.as_bytes().first_chunk();
        Self::from_bytes(first.copied().unwrap_or_default())
    }

    /// Of `projects/{project}/executions/{execution}`; of any other text, nobody's.
    pub(in crate::spool) fn of_text(name: &str) -> Self {
        let parts = name
            .strip_prefix("projects/")
            .and_then(|rest| rest.split_once("/executions/"));
        let (project, execution) = parts.unwrap_or(("", name));
        Self::of_parts(project, execution)
    }

    /// As files keep it.
    pub(in crate::spool) fn to_bytes(self) -> [u8; 16] {
        let [low, high] = self.0;
        (u128::from(low) | (u128::from(high) << 64)).to_le_bytes()
    }

    pub(in crate::spool) fn from_bytes(bytes: [u8; 16]) -> Self {
        let half = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |half| u64::from_le_bytes(*half));
        Self([half(bytes.first_chunk()), half(bytes.last_chunk())])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_has_the_same_key_as_text_and_in_a_file() {
        let name: ExecutionName = "projects/p/executions/e1".parse().unwrap();
        let key = Key::of(&name);
        assert_eq!(Key::of_text(&name.to_string()), key);
        assert_eq!(Key::from_bytes(key.to_bytes()), key);
        // Files have it: it must never become another.
        let hash = blake3::hash(b"p/e1");
        assert_eq!(key.to_bytes(), hash.as_bytes()[..16]);
        assert_ne!(Key::of_text("projects/p/executions/e2"), key);
        assert_ne!(Key::of_text("e1"), key);
    }
}
