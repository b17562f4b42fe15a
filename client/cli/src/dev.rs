//! `signalbox dev`.

use std::time::Duration;

use signalbox_runtime::{metrics, shutdown::Shutdown, telemetry};

use crate::{
    CliError, Output,
    args::DevArgs,
    compose::{ComposeConfig, Composition, write_secret},
};

const ADMIN_TOKEN_FILE: &str = "admin.token";
const ADMIN_TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) async fn run(arguments: DevArgs, output: &Output) -> Result<(), CliError> {
    let start = |error: Box<dyn std::error::Error + Send + Sync>| CliError::Start(error);
    let guard =
        telemetry::init("signalbox-dev", &arguments.telemetry).map_err(|e| start(e.into()))?;
    metrics::install().map_err(|e| start(e.into()))?;
    let shutdown = Shutdown::from_signals().map_err(|e| start(e.into()))?;
    let composition = Composition::start(
        ComposeConfig {
            data_dir: arguments.data_dir.clone(),
            grpc_listen: arguments.grpc_listen,
            webhook_listen: arguments.webhook_listen,
            public_webhook_url: arguments.public_webhook_url.clone(),
            sns_trusted_origins: arguments.sns_trusted_origin.clone(),
        },
        &shutdown,
    )
    .await?;
    let token_file = arguments.data_dir.join(ADMIN_TOKEN_FILE);
    write_secret(&token_file, &composition.admin_token(ADMIN_TOKEN_TTL)?)?;
    let token_file = token_file.canonicalize().unwrap_or(token_file);
    output.raw(&format!(
        "Signalbox is up.\n\n  API       {endpoint}\n  Webhooks  {webhooks}\n\nIn another terminal:\n\n  \
         export SIGNALBOX_ENDPOINT={endpoint}\n  export SIGNALBOX_TOKEN=$(cat {token})\n  signalbox workflows list\n\n\
         The token counts for 30 days; each start makes a new one. Stop with Ctrl-C.\n",
        endpoint = composition.endpoint,
        webhooks = composition.webhook_url,
        token = token_file.display(),
    ))?;
    shutdown.spawn(metrics::upkeep(shutdown.clone()));
    shutdown.stopping().await;
    shutdown.drain(DRAIN).await;
    drop(composition);
    guard.shutdown().await;
    Ok(())
}
