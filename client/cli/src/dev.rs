//! `signalbox dev`.

use std::time::Duration;

use signalbox_runtime::{metrics, shutdown::Shutdown, telemetry};

use crate::{
    CliError, Output,
    args::DevArgs,
    compose::{ComposeConfig, Composition},
};

const ADMIN_TOKEN_FILE: &str = "admin.token";
const ADMIN_TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) async fn run(arguments: DevArgs, output: &Output) -> Result<(), CliError> {
    let guard = telemetry::init("signalbox-dev", &arguments.telemetry).map_err(CliError::start)?;
    let served = serve(arguments, output).await;
    guard.shutdown().await;
    served
}

async fn serve(arguments: DevArgs, output: &Output) -> Result<(), CliError> {
    metrics::install().map_err(CliError::start)?;
    let shutdown = Shutdown::from_signals().map_err(CliError::start)?;
    let config = ComposeConfig {
        data_dir: arguments.data_dir,
        grpc_listen: arguments.grpc_listen,
        webhook_listen: arguments.webhook_listen,
        public_webhook_url: arguments.public_webhook_url,
        sns_trusted_origins: arguments.sns_trusted_origin,
    };
    let composition = Composition::start(config, &shutdown).await?;
    shutdown.spawn(metrics::upkeep(shutdown.clone()));
    let announced = announce(&composition, output);
    if announced.is_ok() {
        shutdown.stopping().await;
    }
    shutdown.drain(DRAIN).await;
    announced
}

fn announce(composition: &Composition, output: &Output) -> Result<(), CliError> {
    let token = composition.admin_token(ADMIN_TOKEN_TTL)?;
    let data_dir = &composition.data_dir;
    data_dir
        .write_secret_file(ADMIN_TOKEN_FILE, token.as_bytes())
        .map_err(CliError::start)?;
    let token_file = data_dir.join(ADMIN_TOKEN_FILE);
    let token_file = token_file.canonicalize().unwrap_or(token_file);
    output.raw(&format!(
        "Signalbox is up.\n\n  API       {endpoint}\n  Webhooks  {webhooks}\n\nIn another terminal:\n\n  \
         export SIGNALBOX_ENDPOINT={endpoint}\n  export SIGNALBOX_TOKEN=$(cat {token})\n  signalbox workflows list\n\n\
         The token counts for 30 days; each start makes a new one. Stop with Ctrl-C.\n",
        endpoint = composition.endpoint,
        webhooks = composition.webhook_url,
        token = shell_word(&token_file.display().to_string()),
    ))
}

/// The text as one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn paths_are_one_word() {
        assert_eq!(shell_word("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(shell_word("/a b/it's"), "'/a b/it'\\''s'");
    }
}
