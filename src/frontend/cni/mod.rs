//! The CNI dialect (specification 0.3.0 to 1.1.0): what the plugin hands on, in the agent.
//!
//! `config` reads the network configuration and CNI_ARGS into an attach request; `result` prints endpoints and errors
//! in the version asked for.

mod config;
mod result;

use routenet_core::model::EndpointKey;
use serde_json::Value;
use tracing::info;

use crate::api::CniReply;
use crate::frontend::Workloads;
use config::Config;
use result::CniError;

/// One call of the plugin, as it came over the socket.
pub struct Call<'a> {
    pub command: &'a str,
    pub container_id: &'a str,
    pub netns: &'a str,
    pub ifname: &'a str,
    pub args: &'a str,
    pub config: &'a str,
}

/// Carries a call out; the reply is what the plugin prints, and its exit code.
pub async fn handle(workloads: &dyn Workloads, call: Call<'_>) -> CniReply {
    let config = match Config::read(&call) {
        Ok(config) => config,
        Err(error) => return failure(&error, &version_of(call.config)),
    };
    let version = config.version.clone();
    match run(workloads, &call, config).await {
        Ok(stdout) => CniReply { exit: 0, stdout },
        Err(error) => failure(&error, &version),
    }
}

async fn run(workloads: &dyn Workloads, call: &Call<'_>, config: Config) -> Result<Option<Value>, CniError> {
    match call.command {
        "ADD" => {
            let request = config.attach_request(call)?;
            let netns = request.netns.clone();
            let endpoint = workloads.attach(request).await?;
            Ok(Some(result::added(&config, &endpoint, &netns)))
        }
        "DEL" => {
            workloads.detach(&config.key(call)?).await?;
            Ok(None)
        }
        "CHECK" => {
            let Some(previous) = &config.previous else {
                return Err(CniError::new(7, "CHECK needs `prevResult`", "hand on the result of ADD"));
            };
            let endpoint = workloads.check(&config.key(call)?, call.netns).await?;
            result::compare(previous, &endpoint, call.netns)?;
            Ok(None)
        }
        "GC" => collect(workloads, &config).await.map(|()| None),
        "STATUS" => match workloads.ready(&config.network).await {
            Ok(()) => Ok(None),
            Err(error) => Err(CniError::new(NOT_AVAILABLE, error.message, error.mend)),
        },
        other => {
            let mend = "expected ADD, DEL, CHECK, GC or STATUS";
            Err(CniError::new(4, format!("unknown CNI_COMMAND `{other}`"), mend))
        }
    }
}

/// CNI specification 1.1.0, STATUS: no ADD can succeed now.
const NOT_AVAILABLE: u32 = 50;

/// GC: detaches what this network configuration asked for and the runtime knows no more. All is tried; the first
/// failure is reported.
async fn collect(workloads: &dyn Workloads, config: &Config) -> Result<(), CniError> {
    let Some(valid) = &config.valid else { return Ok(()) };
    let is_valid = |key: &EndpointKey| {
        valid.iter().any(|known| known.container_id == key.container_id && known.ifname == key.ifname.as_str())
    };
    let mut outcome = Ok(());
    for key in workloads.attached(&config.requester()).await {
        if is_valid(&key) {
            continue;
        }
        match workloads.detach(&key).await {
            Ok(()) => info!(endpoint = %key, "collected: its runtime knows it no more"),
            Err(error) => outcome = outcome.and(Err(error.into())),
        }
    }
    outcome
}

fn failure(error: &CniError, version: &str) -> CniReply {
    CniReply { exit: 1, stdout: Some(error.to_json(version)) }
}

fn version_of(config: &str) -> String {
    serde_json::from_str::<Value>(config)
        .ok()
        .and_then(|config| config["cniVersion"].as_str().map(str::to_string))
        .unwrap_or_else(|| "1.0.0".to_string())
}

#[cfg(test)]
#[path = "cni_tests.rs"]
mod tests;
