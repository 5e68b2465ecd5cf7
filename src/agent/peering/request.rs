//! What `routectl bgp` asks, answered from the speaker: by a whole agent and by a speaker alone.

use routenet_core::model::Cidr;

use super::{Peering, Stopped, neighbor_line, neighbor_reply, route_line, route_reply};
use crate::agent::answers::reply;
use crate::api::listing::{NeighborReply, RouteReply};
use crate::api::{ApiError, Reply};

pub async fn neighbors(peering: &Peering) -> Reply {
    let status = peering.status().await;
    reply(status.map(|s| s.peers.iter().map(neighbor_line).collect::<Vec<_>>()).map_err(stopped))
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

/// `name`: of a neighbour, its address, or `all`.
pub async fn reset(peering: &Peering, name: &str) -> Reply {
    let whom = peering.reset_named(name.to_string()).await.map_err(stopped);
    reply(whom.and_then(|whom| if whom.is_empty() { Err(nobody(name)) } else { Ok(whom) }))
}

async fn find(peering: &Peering, name: &str) -> Result<NeighborReply, ApiError> {
    let found = peering.neighbor(name.to_string()).await.map_err(stopped)?;
    found.map(|detail| neighbor_reply(&detail)).ok_or_else(|| nobody(name))
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

fn nobody(name: &str) -> ApiError {
    ApiError {
        code: "not-found".into(),
        message: format!("{name}: no neighbour has this name or address (`routectl bgp neighbors` lists them)"),
    }
}

fn stopped(error: Stopped) -> ApiError {
    ApiError { code: "unavailable".into(), message: error.to_string() }
}
