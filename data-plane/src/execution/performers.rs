//! The performers of all kinds of effects.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use signalbox_engine::{AttemptFailure, Effect, EffectKind, Outcome, codes};
use signalbox_runtime::ambient::Ambient;

use super::{
    AwsPerformer, EmailPerformer, HttpPerformer, NodeIdentity, Performer, ScriptPerformer,
};
use crate::egress::Egress;

/// Performs every kind of effect, each by the one of its kind.
#[derive(Clone, Debug)]
pub struct Performers {
    http: HttpPerformer,
    aws: AwsPerformer,
    email: EmailPerformer,
    script: ScriptPerformer,
}

impl Performers {
    /// Through `egress`, as `node` where AWS asks who calls.
    #[must_use]
    pub fn new(egress: &Egress, node: NodeIdentity, ambient: Arc<dyn Ambient>) -> Self {
        Self {
            http: HttpPerformer::new(egress.clone()),
            aws: AwsPerformer::new(egress.clone(), node, ambient.clone()),
            email: EmailPerformer::new(egress.clone(), ambient),
            script: ScriptPerformer::default(),
        }
    }
}

impl Performer for Performers {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome> {
        match effect.kind {
            EffectKind::Http(_) => self.http.perform(effect),
            EffectKind::Aws(_) => self.aws.perform(effect),
            EffectKind::Email(_) => self.email.perform(effect),
            EffectKind::Script(_) => self.script.perform(effect),
            EffectKind::RunWorkflow(_) => {
                let failure = AttemptFailure::lasting(
                    codes::INTERNAL,
                    "executions are started by who drives the one that starts them",
                );
                std::future::ready(Outcome::Failed(failure)).boxed()
            }
        }
    }
}
