//! States and kinds.

use signalbox_model::{
    event::TriggerKind,
    execution::{ExecutionState, StepState},
    record::{SubscriptionState, Verdict},
    signal::ApprovalDecision,
};

use super::WireError;
use crate::v1;

macro_rules! pairs {
    ($to_wire:ident, $from_wire:ident, $model:ty, $wire:ty, $field:literal, { $($variant:ident),+ }) => {
        #[doc = concat!("A ", $field, " for the wire.")]
        #[must_use]
        pub fn $to_wire(value: $model) -> $wire {
            match value {
                $(<$model>::$variant => <$wire>::$variant,)+
            }
        }

        #[doc = concat!("A ", $field, " from the wire.")]
        ///
        /// # Errors
        /// When it is not set or not known.
        pub fn $from_wire(value: i32) -> Result<$model, WireError> {
            match <$wire>::try_from(value) {
                $(Ok(<$wire>::$variant) => Ok(<$model>::$variant),)+
                Ok(<$wire>::Unspecified) => Err(WireError::Missing($field)),
                Err(error) => Err(WireError::invalid($field, error)),
            }
        }
    };
}

pairs!(trigger_to_wire, trigger, TriggerKind, v1::TriggerKind, "trigger", { AmazonSns, Webhook, Manual, Schedule, Workflow });
pairs!(execution_state_to_wire, execution_state, ExecutionState, v1::ExecutionState, "execution state", {
    Queued, Running, Waiting, Succeeded, Failed, Cancelled, TimedOut
});
pairs!(step_state_to_wire, step_state, StepState, v1::StepState, "step state", {
    Running, Waiting, Succeeded, Failed, Skipped, Cancelled
});
pairs!(verdict_to_wire, verdict, Verdict, v1::DeliveryVerdict, "verdict", {
    Accepted, Duplicate, Filtered, Rejected
});
pairs!(approval_to_wire, approval, ApprovalDecision, v1::ApprovalVerdict, "verdict", { Approved, Rejected });
pairs!(
    subscription_state_to_wire, subscription_state, SubscriptionState, v1::SubscriptionState,
    "subscription state", { Pending, Confirmed, Unsubscribed, Failed }
);
