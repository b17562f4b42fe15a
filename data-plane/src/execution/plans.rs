//! Definitions, made ready to run once for all executions of a version.

use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;
use signalbox_engine::{Plan, codes};
use signalbox_model::{execution::Failure, ids::ProjectId};
use signalbox_proto::convert::definition;

/// Size of the definitions whose plans are kept, as they are written, in bytes. Plans that do not fit are made again.
const DEFINITIONS_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Recently used plans, by the digest of what they were made from: the number of a version says nothing when the
/// control plane's database was made anew.
pub(super) struct Plans {
    cache: Cache<[u8; 32], (Arc<Plan>, u32)>,
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            cache: Cache::builder()
                .max_capacity(DEFINITIONS_MAX_BYTES)
                .weigher(|_, (_, size_bytes): &(Arc<Plan>, u32)| *size_bytes)
                .build(),
        }
    }
}

/// Size of a definition that is read where it is asked for, in bytes: it holds a handful of expressions at most.
const INLINE_MAX_BYTES: usize = 512;

impl Plans {
    /// The plan of a definition.
    ///
    /// # Errors
    /// It is not, or no longer, valid for this node.
    pub(super) async fn get(
        &self,
        definition: &Bytes,
        project: &ProjectId,
    ) -> Result<Arc<Plan>, Failure> {
        let key = *blake3::Hasher::new()
            .update(project.as_str().as_bytes())
            .update(b"/")
            .update(definition)
            .finalize()
            .as_bytes();
        // Of many that come at once, one makes it.
        let made = self
            .cache
            .try_get_with(key, make(definition, project))
            .await;
        match made {
            Ok((plan, _)) => Ok(plan),
            Err(failure) => Err(failure.as_ref().clone()),
        }
    }
}

async fn make(definition: &Bytes, project: &ProjectId) -> Result<(Arc<Plan>, u32), Failure> {
    let size_bytes = u32::try_from(definition.len()).unwrap_or(u32::MAX);
    let (definition, project) = (definition.clone(), project.clone());
    let decode = move || definition::decode(&definition, &project);
    // Parsing hundreds of expressions takes longer than a task may hold its thread.
    let decoded = if size_bytes as usize <= INLINE_MAX_BYTES {
        Ok(decode())
    } else {
        tokio::task::spawn_blocking(decode).await
    };
    match decoded {
        Ok(Ok(workflow)) => Ok((Arc::new(Plan::new(&workflow)), size_bytes)),
        Ok(Err(violations)) => Err(Failure::new(
            codes::DEFINITION,
            format!("this node cannot read the definition: {violations}"),
        )),
        Err(_) => Err(Failure::new(
            codes::DEFINITION,
            "reading the definition broke off",
        )),
    }
}
