//! What is derived from an execution's name, so that a crash changes nothing.

use signalbox_model::{
    ids::{ExecutionName, StepInstance},
    signal::ApprovalDecision,
};

/// The `Idempotency-Key` of the attempts of a step's run: 160 bits of BLAKE3 over the execution and the run's text, in
/// base 32. Other executions, other steps and other iterations have others; attempts and crashes do not change it.
#[must_use]
pub fn idempotency_key(execution: &ExecutionName, step: &StepInstance) -> String {
    let digest = digest("signalbox 2026-11 idempotency key", execution, step, 0);
    data_encoding::BASE32_NOPAD
        .encode(&digest[..20])
        .to_ascii_lowercase()
}

/// A UUID of an idempotency key, for services that know requests by one. It looks like a random one (RFC 9562 §5.4), as
/// some take no other.
pub(crate) fn uuid(idempotency_key: &str) -> uuid::Uuid {
    let context = "signalbox 2026-11 uuid of idempotency key";
    as_uuid(blake3::derive_key(context, idempotency_key.as_bytes()))
}

/// The id of the link that decides an approval's run so: the same whoever sends it, and however often.
pub(crate) fn link_id(
    execution: &ExecutionName,
    approval: &StepInstance,
    decision: ApprovalDecision,
) -> uuid::Uuid {
    let number = match decision {
        ApprovalDecision::Approved => 0,
        ApprovalDecision::Rejected => 1,
    };
    let context = "signalbox 2027-01 id of approval link";
    as_uuid(digest(context, execution, approval, number))
}

fn as_uuid(digest: [u8; 32]) -> uuid::Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// The jitter of the pause after an attempt, 0 to 1: spread evenly over executions, and the same after a crash.
pub(crate) fn jitter(execution: &ExecutionName, step: &StepInstance, attempt: u32) -> f64 {
    let digest = digest("signalbox 2026-11 retry jitter", execution, step, attempt);
    let [a, b, c, d, ..] = digest;
    f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

fn digest(context: &str, execution: &ExecutionName, step: &StepInstance, number: u32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in [execution.to_string(), step.to_string()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn name(id: &str) -> ExecutionName {
        format!("projects/p/executions/{id}").parse().unwrap()
    }

    #[test]
    fn keys_tell_executions_and_steps_apart_and_fit_a_header() {
        let (call, other) = ("call".parse().unwrap(), "other".parse().unwrap());
        let key = idempotency_key(&name("x1"), &call);
        // What nodes before iterations sent: a crash across an upgrade repeats nothing.
        assert_eq!(key, "yp3x4j36tnfovls2yyo2mzftv5s3vx2v");
        for iteration in ["call[0]", "call[1]", "call[0][1]"] {
            let other = idempotency_key(&name("x1"), &iteration.parse().unwrap());
            assert_ne!(key, other);
        }
        assert_eq!(key, idempotency_key(&name("x1"), &call));
        assert_ne!(key, idempotency_key(&name("x2"), &call));
        assert_ne!(key, idempotency_key(&name("x1"), &other));
        assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_alphanumeric()));
    }

    #[test]
    fn the_uuid_of_a_key_is_its_own_and_stays() {
        let id = uuid("yp3x4j36tnfovls2yyo2mzftv5s3vx2v");
        assert_eq!(id, uuid("yp3x4j36tnfovls2yyo2mzftv5s3vx2v"));
        assert_ne!(id, uuid("yp3x4j36tnfovls2yyo2mzftv5s3vx2w"));
        assert_eq!(id.get_version(), Some(uuid::Version::Random));
        // It stays across versions too: a crash across an upgrade posts nothing twice.
        assert_eq!(id.to_string(), "ae1bcefa-818f-455e-9370-0de224dd0865");
    }

    #[test]
    fn each_link_of_each_approval_has_an_id_that_stays() {
        use ApprovalDecision::{Approved, Rejected};
        let (ask, other) = ("ask".parse().unwrap(), "ask[0]".parse().unwrap());
        let id = link_id(&name("x1"), &ask, Approved);
        assert_eq!(id, link_id(&name("x1"), &ask, Approved));
        for another in [
            link_id(&name("x1"), &ask, Rejected),
            link_id(&name("x1"), &other, Approved),
            link_id(&name("x2"), &ask, Approved),
        ] {
            assert_ne!(id, another);
        }
        // Across versions too: what was sent is answered as it was.
        assert_eq!(id.to_string(), "ec794f1b-8cfb-4f4e-8f87-4c0d1f46c52e");
    }

    #[test]
    fn jitter_is_spread_over_its_range() {
        let step = "call".parse().unwrap();
        let all: Vec<f64> = (0..1000)
            .map(|n| jitter(&name(&format!("x{n}")), &step, 1))
            .collect();
        assert!(all.iter().all(|jitter| (0.0..=1.0).contains(jitter)));
        let mean = all.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert_ne!(jitter(&name("x1"), &step, 1), jitter(&name("x1"), &step, 2));
    }
}
