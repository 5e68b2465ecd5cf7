//! What `routectl bgp` asks, answered from the speaker: by a whole agent and by a speaker alone.

use std::path::Path;
use std::time::SystemTime;

use routenet_core::bgp::speaker::{FilterAnswer, FilterQuestion};
use routenet_core::model::Cidr;
use routenet_core::model::scope::unscoped;
use tokio::io::AsyncWriteExt;

use super::{Peering, PeeringStatus, Stopped, bfd, neighbor_lines, neighbor_reply, route_line, route_reply};
use crate::agent::answers::reply;
use crate::api::listing::{DumpReply, NeighborReply, RouteReply};
use crate::api::{ApiError, Reply};

pub async fn neighbors(peering: &Peering) -> Reply {
    let status = peering.status().await;
    reply(status.map(|status| neighbor_lines(&status)).map_err(stopped))
}

pub async fn routes(peering: &Peering) -> Reply {
    let routes = peering.routes().await;
    reply(routes.map(|routes| routes.iter().map(route_line).collect::<Vec<_>>()).map_err(stopped))
}

pub async fn neighbor(peering: &Peering, name: &str) -> Reply {
    reply(find(peering, name).await)
}

pub async fn route(peering: &Peering, prefix: &str) -> Reply {
    reply(routes_to(peering, prefix).await)
}

pub async fn test_filter(peering: &Peering, question: FilterQuestion) -> Reply {
    let answer = peering.test_filter(question).await.map_err(stopped);
    // Rules are written without links.
    let answer = answer.map(|answer| answer.map(|it| FilterAnswer { address: unscoped(it.address).0, ..it }));
    reply(answer.and_then(|answer| answer.map_err(|why| ApiError { code: "not-found".into(), message: why })))
}

/// `name`: of a neighbour, its address, or `all`.
pub async fn reset(peering: &Peering, name: &str) -> Reply {
    let whom = peering.reset_named(name.to_string()).await.map_err(stopped);
    reply(whom.and_then(|whom| if whom.is_empty() { Err(nobody(name)) } else { Ok(whom) }))
}

async fn find(peering: &Peering, name: &str) -> Result<NeighborReply, ApiError> {
    let found = peering.neighbor(name.to_string()).await.map_err(stopped)?;
    let status = peering.status().await.map_err(stopped)?;
    let detail = found.ok_or_else(|| waiting(&status, name).unwrap_or_else(|| nobody(name)))?;
    let report = status.bfd;
    Ok(neighbor_reply(&detail, bfd::line(&report, &detail.status)))
}

async fn routes_to(peering: &Peering, prefix: &str) -> Result<Vec<RouteReply>, ApiError> {
    let wanted = prefix.parse::<Cidr>().or_else(|error| match prefix.parse::<std::net::IpAddr>() {
        Ok(address) => Ok(Cidr::host(address)),
        Err(_) => Err(error),
    });
    let wanted = wanted.map_err(|error| ApiError {
        code: "invalid".into(),
        message: format!("{prefix}: {error}: expected a prefix such as 10.65.0.0/26, or an address"),
    })?;
    let routes = peering.route(wanted).await.map_err(stopped)?;
    if routes.is_empty() {
        return Err(ApiError {
            code: "not-found".into(),
            message: format!("{prefix}: no route covers it, usable or not (`routectl bgp routes` lists what there is)"),
        });
    }
    Ok(routes.iter().map(route_reply).collect())
}

/// Writes the table into a new file below `state`.
pub async fn dump(peering: &Peering, state: &Path) -> Reply {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let directory = state.join("mrt");
    // Two within a second are two files.
    let file = directory.join(format!("rib-{}.{:03}.mrt", at.as_secs(), at.subsec_millis()));
    let written = write_dump(peering, &directory, &file, at.as_secs() as u32).await;
    let failed = |what: String| ApiError { code: "failed".into(), message: format!("{}: {what}", file.display()) };
    reply(written.map(|bytes| DumpReply { file: file.display().to_string(), bytes }).map_err(failed))
}

async fn write_dump(peering: &Peering, directory: &Path, file: &Path, at: u32) -> Result<u64, String> {
    let words = |error: std::io::Error| error.to_string();
    tokio::fs::create_dir_all(directory).await.map_err(words)?;
    let mut into = tokio::fs::File::create_new(file).await.map_err(words)?;
    let mut written = 0;
    let mut dump = None;
    while let Some((next, bytes)) = peering.dump(dump, at).await.map_err(|error| error.to_string())? {
        into.write_all(&bytes).await.map_err(words)?;
        written += bytes.len() as u64;
        dump = Some(next);
    }
    into.flush().await.map_err(words)?;
    Ok(written)
}

/// One that is known by its interface has nothing to be told of but what it waits for.
fn waiting(status: &PeeringStatus, name: &str) -> Option<ApiError> {
    let found = status.waiting.iter().find(|waiting| waiting.link.peer.name == name || waiting.place() == name)?;
    let message = format!("{name}: {} ({})", found.why, found.mend);
    Some(ApiError { code: "not-found".into(), message })
}

fn nobody(name: &str) -> ApiError {
    ApiError {
        code: "not-found".into(),
        message: format!("{name}: no neighbour has this name or address (`routectl bgp neighbors` lists them)"),
    }
}

fn stopped(error: Stopped) -> ApiError {
    ApiError { code: "unavailable".into(), message: error.to_string() }
}
