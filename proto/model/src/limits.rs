//! The limits of definitions and of what executions may hold (invariant I9). Units stand last in the names.

use std::time::Duration;

/// Steps of one workflow, nested ones included.
pub const STEPS_MAX: usize = 200;
/// Depth to which steps may stand in steps.
pub const STEP_DEPTH_MAX: usize = 8;
/// Names of steps and constants for which a reading of a definition looks for what was meant.
pub const SUGGESTIONS_MAX: usize = 20;
/// Rules of one condition.
pub const CONDITION_RULES_MAX: usize = 50;
/// Constants of one workflow.
pub const VARS_MAX: usize = 100;
/// Length of one CEL expression or template, in bytes.
pub const EXPRESSION_MAX_BYTES: usize = 16 * 1024;
/// What a step run records of its expressions and templates as they were written, in bytes of JSON.
pub const SHOWN_MAX_BYTES: usize = 1024;
/// Length of one JSONPath query, in bytes.
pub const JSON_PATH_MAX_BYTES: usize = 1024;
/// Depth to which CEL comprehensions (`map`, `filter`, `all`, …) may nest.
pub const COMPREHENSION_DEPTH_MAX: usize = 2;
/// Work of one CEL evaluation, and of all of one template or one step together: a unit is a value that is looked at, copied or made, or 64 bytes of a text. The whole
/// takes about a second at most.
pub const EVALUATION_MAX_UNITS: u64 = 2_000_000;
/// Depth of a CEL expression's syntax tree.
pub const EXPRESSION_DEPTH_MAX: usize = 64;
/// Size of the JSON text of one evaluated value, in bytes.
pub const VALUE_MAX_BYTES: usize = 1024 * 1024;
/// Depth of one JSON value that comes in.
pub const JSON_DEPTH_MAX: usize = 64;
/// Size of a whole definition as JSON text, in bytes.
pub const DEFINITION_MAX_BYTES: usize = 512 * 1024;
/// API keys or topics that one trigger may name.
pub const TRIGGER_NAMES_MAX: usize = 100;
/// Size of a filter policy as JSON text, in bytes: Amazon SNS's limit, as are the next three.
pub const FILTER_POLICY_MAX_BYTES: u64 = 256 * 1024;
/// Keys of one filter policy that have values, wherever they stand.
pub const FILTER_POLICY_KEYS_MAX: u64 = 5;
/// Combinations of values of one filter policy: of its keys multiplied, of the alternatives of `$or` added, each key's
/// values times the level at which it stands.
pub const FILTER_POLICY_COMBINATIONS_MAX: u64 = 150;
/// Complexity of the wildcards of one filter policy, in points.
pub const FILTER_POLICY_WILDCARD_POINTS_MAX: u64 = 100;
/// Attempts of one step.
pub const ATTEMPTS_MAX: u32 = 20;
/// Time that a step's attempt may take unless it says so.
pub const STEP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest time that a step's attempt may take.
pub const STEP_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Time that an execution may take unless the workflow says so.
pub const WORKFLOW_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
/// Longest time that an execution may take.
pub const WORKFLOW_TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Time that the `finally` steps may take together unless the workflow says so.
pub const FINALLY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Longest time that the `finally` steps may take together.
pub const FINALLY_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Errors and statuses that one retry policy may name.
pub const RETRY_ON_MAX: usize = 50;
/// Statuses, classes and ranges that one `successStatus` may name.
pub const SUCCESS_STATUS_MAX: usize = 50;
/// Redirects that one attempt may follow.
pub const REDIRECTS_MAX: u8 = 10;
/// Blocks of one Slack message: Slack's limit.
pub const SLACK_BLOCKS_MAX: usize = 50;
/// How long attempts that are under way may go on when their execution is cancelled.
pub const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// Time that an execution of a workflow may take that waits for people or other systems (an `approval`, a `wait` for a
/// signal) unless it says so.
pub const WAITING_WORKFLOW_TIMEOUT_DEFAULT: Duration = WORKFLOW_TIMEOUT_MAX;
/// How long a link to an approval counts that a step sends, at most; it ends before, with the time that its execution may take.
pub const LINK_TTL_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
/// How long an approval is waited for unless the step says so.
pub const APPROVAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest time that an approval or a signal is waited for.
pub const SIGNAL_TIMEOUT_MAX: Duration = WORKFLOW_TIMEOUT_MAX;
/// Size of the JSON text of what comes with a signal, in bytes.
pub const SIGNAL_PAYLOAD_MAX_BYTES: usize = 64 * 1024;
/// Signals and decisions that one execution may be told.
pub const EXECUTION_SIGNALS_MAX: u64 = 200;
/// Length of an approval's message that is kept of a rendered one, and of the comment on its decision, in characters.
pub const APPROVAL_TEXT_MAX_CHARS: usize = 4_096;
/// Approvers that one approval may name.
pub const APPROVERS_MAX: usize = 50;
/// Length of one of them, in characters.
pub const APPROVER_MAX_CHARS: usize = 128;
/// Step runs of one execution, but for its `finally` steps.
pub const EXECUTION_STEPS_MAX: usize = 5_000;
/// Size of the JSON texts of all inputs and outputs of one execution's steps, in bytes. A step that would begin beyond it
/// ends the execution; those under way may still add theirs.
pub const EXECUTION_HISTORY_MAX_BYTES: usize = 20 * 1024 * 1024;
/// Step runs, and size of their inputs and outputs in bytes, that the `finally` steps have beyond these.
pub const FINALLY_STEPS_MAX: usize = 500;
/// As said.
pub const FINALLY_HISTORY_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Branches of one `parallel`.
pub const PARALLEL_BRANCHES_MAX: usize = 20;
/// Items of one `forEach`.
pub const FOR_EACH_ITEMS_MAX: usize = 1_000;
/// Items of a `forEach` whose steps run at once, unless it says so.
pub const FOR_EACH_CONCURRENCY_DEFAULT: u32 = 10;
/// Steps of one execution that its definition lets be under way at once.
pub const CONCURRENT_STEPS_MAX: usize = 100;
/// Time that the credentials of an assumed role last unless the step says so; AWS's own default.
pub const AWS_ROLE_DURATION_DEFAULT: Duration = Duration::from_secs(3600);
/// Shortest such time that AWS grants.
pub const AWS_ROLE_DURATION_MIN: Duration = Duration::from_secs(900);
/// Longest such time that AWS grants.
pub const AWS_ROLE_DURATION_MAX: Duration = Duration::from_secs(12 * 3600);
/// Recipients of one message, `to`, `cc` and `bcc` together.
pub const EMAIL_RECIPIENTS_MAX: usize = 100;
/// Size of a script's module in the binary format, in bytes.
pub const SCRIPT_MODULE_MAX_BYTES: usize = 384 * 1024;
/// Fuel of one attempt of a script unless the step says so: about one for each instruction.
pub const SCRIPT_FUEL_DEFAULT: u64 = 500_000_000;
/// Most such fuel.
pub const SCRIPT_FUEL_MAX: u64 = 10_000_000_000;
/// Size of one page of a script's memory, the least that it may have, in bytes.
pub const SCRIPT_PAGE_BYTES: u32 = 64 * 1024;
/// Size to which a script's memory may grow unless the step says so, in bytes.
pub const SCRIPT_MEMORY_DEFAULT_BYTES: u32 = 16 * 1024 * 1024;
/// Largest such size.
pub const SCRIPT_MEMORY_MAX_BYTES: u32 = 128 * 1024 * 1024;
/// Tables of one script.
pub const SCRIPT_TABLES_MAX: u32 = 4;
/// Elements of one of them.
pub const SCRIPT_TABLE_ELEMENTS_MAX: u32 = 64 * 1024;
/// Size of what a script writes to its standard output, in bytes.
pub const SCRIPT_OUTPUT_MAX_BYTES: usize = 256 * 1024;
/// Size of the end of its standard error that is kept, in bytes.
pub const SCRIPT_LOG_MAX_BYTES: usize = 16 * 1024;
/// Longest pause between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// Length of a MessageId, an Idempotency-Key or another opaque id from outside, in bytes.
pub const OPAQUE_ID_MAX_BYTES: usize = 256;
/// Length of a display name, in characters.
pub const DISPLAY_NAME_MAX_CHARS: usize = 128;
/// Length of a description, in characters.
pub const DESCRIPTION_MAX_CHARS: usize = 2048;
/// Executions of one workflow that its concurrency limit may let run at once.
pub const WORKFLOW_EXECUTIONS_MAX: u32 = 10_000;
/// How long the value that a key had before goes on working when it is rotated, unless it is said.
pub const KEY_OVERLAP_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// The longest that it may.
pub const KEY_OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Workflows, and networks, that one key's scope may name.
pub const KEY_SCOPE_MAX: usize = 100;
/// Events a second, and at once, that a rate limit may allow.
pub const RATE_MAX: u32 = 1_000_000;
/// Deliveries of each verdict but ACCEPTED that are kept for a workflow: the newest.
pub const DELIVERIES_KEPT_MAX: u64 = 10_000;
/// Size of a secret, in bytes.
pub const SECRET_MAX_BYTES: usize = 64 * 1024;
/// Shortest secret, in bytes, white space around it not counted. What is recorded is searched for secrets: a shorter one would
/// be found where it only happens to stand.
pub const SECRET_MIN_BYTES: usize = 8;
/// Inputs that one manual trigger may declare.
pub const MANUAL_INPUTS_MAX: usize = 50;
/// Shortest and longest distance of a schedule's ticks.
pub const SCHEDULE_RATE_MIN: Duration = Duration::from_secs(1);
/// As said.
pub const SCHEDULE_RATE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// How late a tick may be made; one that would be later was missed.
pub const SCHEDULE_GRACE: Duration = Duration::from_secs(5);
/// How much later it may be made when there was so much to do that it could not be looked at before.
pub const SCHEDULE_BUSY_MAX: Duration = Duration::from_secs(60);
/// Missed ticks that run together at most.
pub const SCHEDULE_MISFIRES_MAX: usize = 100;
/// Largest body of a webhook that a node may be told to take, in bytes. What a body becomes on its way is larger, and must fit
/// there: an envelope of Amazon SNS with what is redacted of it (`ENVELOPE_MAX_BYTES` of signalbox-sns), and a report, which
/// holds the body and, as JSON, its text, of which JSON may make six bytes of each ([`REPORT_MESSAGE_MAX_BYTES`]).
pub const BODY_MAX_BYTES: usize = 4_000_000;
/// Size of one message of a report that the control plane takes, in bytes.
pub const REPORT_MESSAGE_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Size of the results that a retry may keep, in bytes: they reach the node in one message.
pub const RETRY_KEPT_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Executions that may stand above one: the child of a child of a child …
pub const CHILD_DEPTH_MAX: u32 = 8;
/// Size of the input of a manual run, and of a child, as JSON text, in bytes.
pub const RUN_INPUT_MAX_BYTES: usize = 256 * 1024;
/// Size of an input or output as JSON text, in bytes, up to which it is recorded whole unless the control plane says so.
pub const HISTORY_VALUE_MAX_BYTES: usize = 256 * 1024;
/// The least that this may be: what says that a value was truncated must fit.
pub const HISTORY_VALUE_MAX_BYTES_MIN: usize = 1024;
/// How long executions are kept after their end, and deliveries after they came, unless the control plane or the project says
/// so.
pub const HISTORY_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long deleted keys and workflows can be undeleted unless the control plane says so.
pub const DELETED_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// The shortest and the longest that these may be.
pub const RETENTION_MIN: Duration = Duration::from_secs(1);
/// As said: 100 years.
pub const RETENTION_MAX: Duration = Duration::from_secs(36_500 * 24 * 3600);
/// Labels of one resource.
pub const LABELS_MAX: usize = 64;
/// Length of a label's name, in bytes.
pub const LABEL_NAME_MAX_BYTES: usize = 63;
/// Length of a label's value, in bytes.
pub const LABEL_VALUE_MAX_BYTES: usize = 128;
/// Workflows of one project, unless the control plane or the project says so.
pub const QUOTA_WORKFLOWS: i64 = 10_000;
/// API keys of one project, unless the control plane or the project says so.
pub const QUOTA_API_KEYS: i64 = 10_000;
