//! The CNI dialect (specification 0.4.0 and 1.0.0): what the plugin hands on, in the agent.
//!
//! `config` reads the network configuration and CNI_ARGS into an attach request; `result` prints endpoints and errors
//! in the version asked for.

mod config;
mod result;

use serde_json::Value;

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
            let endpoint = workloads.check(&config.key(call)?).await?;
            result::compare(previous, &endpoint)?;
            Ok(None)
        }
        other => Err(CniError::new(4, format!("unknown CNI_COMMAND `{other}`"), "expected ADD, DEL or CHECK")),
    }
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
