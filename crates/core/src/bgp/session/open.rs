//! OPEN: what we offer, and what comes of the neighbour's (RFC 4271 6.2, RFC 5492, RFC 4724, RFC 6286, RFC 6793, RFC 8950).

use std::net::{IpAddr, Ipv4Addr};

use super::Settings;
use crate::bgp::wire::{
    AddPath, AfiSafi, Capability, CodecContext, GracefulRestart, LongLived, Notification, Open, PathIds,
};

/// `AFI_IP6`, as the AFI of a next hop.
const IPV4_OVER_IPV6: (AfiSafi, u16) = (AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST.afi);

/// The families that we speak.
pub const FAMILIES: [AfiSafi; 2] = [AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The neighbour's.
    pub as_number: u32,
    pub router_id: Ipv4Addr,
    /// Seconds; 0: neither hold timer nor keepalives.
    pub hold_time: u16,
    pub codec: CodecContext,
    pub route_refresh: bool,
    /// The neighbour gives the reserved octet of a ROUTE-REFRESH its meaning (RFC 7313 section 5).
    pub enhanced_refresh: bool,
    /// The neighbour's restart capability, with the families that both speak; `None` where either side has none.
    pub graceful_restart: Option<GracefulRestart>,
    /// The families whose routes are kept beyond the neighbour's restart time, no longer than we want; empty where either
    /// side has not said so (RFC 9494).
    pub long_lived: Vec<LongLived>,
    /// The neighbour knows what LLGR_STALE means, whatever we do ourselves.
    pub long_lived_aware: bool,
}

impl Negotiated {
    /// For listings.
    pub fn words(&self) -> Vec<String> {
        let families = self.codec.families.iter().map(family_word);
        let PathIds { received, sent } = &self.codec.path_ids;
        let paths = received.iter().map(|family| format!("add-paths-receive-{}", family_word(family)));
        let paths = paths.chain(sent.iter().map(|family| format!("add-paths-send-{}", family_word(family))));
        let others = [
            ("extended-next-hop", self.codec.extended_next_hop),
            ("four-octet-as", self.codec.four_octet_as),
            ("route-refresh", self.route_refresh),
            ("enhanced-route-refresh", self.enhanced_refresh),
            ("graceful-restart", self.graceful_restart.is_some()),
            ("long-lived-graceful-restart", !self.long_lived.is_empty()),
            ("graceful-notification", self.graceful_restart.as_ref().is_some_and(|theirs| theirs.notification)),
        ];
        let others = others.into_iter().filter(|(_, has)| *has).map(|(word, _)| word.to_string());
        families.chain(others).chain(paths).collect()
    }
}

fn family_word(family: &AfiSafi) -> String {
    match *family {
        AfiSafi::IPV4_UNICAST => "ipv4-unicast".to_string(),
        AfiSafi::IPV6_UNICAST => "ipv6-unicast".to_string(),
        AfiSafi { afi, safi } => format!("{afi}/{safi}"),
    }
}

/// The OPEN that we send. `restarting`: we have restarted, and our selection is not done yet (the R bit of RFC 4724);
/// `preserved`: what we told this neighbour before was forwarded all the while (the F bit); `local`: our end of the connection.
pub fn offer(settings: &Settings, local: Option<IpAddr>, restarting: bool, preserved: bool) -> Open {
    let mut capabilities: Vec<Capability> = FAMILIES.into_iter().map(Capability::Multiprotocol).collect();
    capabilities.push(Capability::RouteRefresh);
    capabilities.push(Capability::EnhancedRouteRefresh);
    if offers_extended_next_hop(settings, local) {
        capabilities.push(Capability::ExtendedNextHop(vec![IPV4_OVER_IPV6]));
    }
    capabilities.push(Capability::FourOctetAs(settings.local_as));
    if let Some(role) = settings.role.filter(|_| settings.external()) {
        capabilities.push(Capability::Role(role as u8));
    }
    let (receives, sends) = (settings.add_paths.receive, settings.add_paths.sends());
    if receives || sends {
        let families = FAMILIES.into_iter().map(|family| AddPath { family, receives, sends });
        capabilities.push(Capability::AddPaths(families.collect()));
    }
    if settings.restarts() {
        capabilities.push(Capability::GracefulRestart(GracefulRestart {
            restarted: restarting,
            notification: settings.restart_on_notification,
            restart_time: settings.restart_time.min(4095),
            families: FAMILIES.into_iter().map(|family| (family, preserved)).collect(),
        }));
    }
    if settings.long_lived_time > 0 {
        let seconds = settings.long_lived_time.min(LongLived::MOST);
        let of_family = |family| LongLived { family, forwarding: preserved, seconds };
        capabilities.push(Capability::LongLivedGracefulRestart(FAMILIES.into_iter().map(of_family).collect()));
    }
    Open { as_number: settings.local_as, hold_time: settings.hold_time, router_id: settings.router_id, capabilities }
}

/// RFC 8950, wherever the connection is one of IPv6: over IPv4 we have a next hop of IPv4.
fn offers_extended_next_hop(settings: &Settings, local: Option<IpAddr>) -> bool {
    settings.extended_next_hop && local.is_some_and(|local| local.is_ipv6())
}

/// Judges the neighbour's OPEN, as far as [`crate::bgp::wire::decode`] could not without knowing who was expected.
///
/// # Errors
/// The NOTIFICATION of RFC 4271 6.2 that it is answered with.
pub fn negotiate(settings: &Settings, local: Option<IpAddr>, open: &Open) -> Result<Negotiated, Notification> {
    if stranger(settings, open).is_some() {
        return Err(Notification::bad_peer_as());
    }
    let ibgp = !settings.external();
    // RFC 6286 2.2: two ASes may use one identifier, two speakers of an AS may not.
    if ibgp && open.router_id == settings.router_id {
        return Err(Notification::bad_bgp_identifier());
    }
    if !ibgp {
        check_role(settings, open)?;
    }
    let families = common_families(open)?;
    let has = |wanted: fn(&Capability) -> bool| open.capabilities.iter().any(wanted);
    // RFC 4724 section 3: of several only the last counts.
    let restart = open.capabilities.iter().rev().find_map(|capability| match capability {
        Capability::GracefulRestart(theirs) => Some(theirs),
        _ => None,
    });
    let graceful_restart = restart.filter(|_| settings.restarts()).cloned().map(|mut theirs| {
        theirs.families.retain(|(family, _)| families.contains(family));
        theirs.notification &= settings.restart_on_notification;
        if settings.restart_time == 0 {
            theirs.restart_time = 0;
        }
        theirs
    });
    // RFC 9494 4.5: without the other capability it is as if it were not there.
    let long_lived =
        open.capabilities.iter().rev().filter(|_| restart.is_some()).find_map(|capability| match capability {
            Capability::LongLivedGracefulRestart(theirs) => Some(theirs.as_slice()),
            _ => None,
        });
    Ok(Negotiated {
        as_number: open.as_number,
        router_id: open.router_id,
        hold_time: settings.hold_time.min(open.hold_time),
        route_refresh: has(|capability| matches!(capability, Capability::RouteRefresh)),
        enhanced_refresh: has(|capability| matches!(capability, Capability::EnhancedRouteRefresh)),
        graceful_restart,
        long_lived: long_lived.map(|theirs| common_long_lived(settings, &families, theirs)).unwrap_or_default(),
        long_lived_aware: long_lived.is_some(),
        codec: CodecContext {
            four_octet_as: has(|capability| matches!(capability, Capability::FourOctetAs(_))),
            ibgp,
            extended_next_hop: offers_extended_next_hop(settings, local)
                && has(
                    |capability| matches!(capability, Capability::ExtendedNextHop(theirs) if theirs.contains(&IPV4_OVER_IPV6)),
                ),
            path_ids: path_ids(settings, open, &families),
            families,
        },
    })
}

/// Why the neighbour's AS is not the one that was expected, in words (RFC 4271 6.2).
pub fn stranger(settings: &Settings, open: &Open) -> Option<String> {
    let theirs = open.as_number;
    match settings.peer_as {
        Some(expected) => (theirs != expected).then(|| format!("its AS is {theirs}, and not {expected}")),
        None => [settings.local_as, settings.own_as]
            .contains(&theirs)
            .then(|| format!("its AS is {theirs}, as ours, and it is to be external")),
    }
}

/// RFC 9494 4.2: the neighbour's long-lived stale time is what it asks for, ours the most that it gets.
fn common_long_lived(settings: &Settings, families: &[AfiSafi], theirs: &[LongLived]) -> Vec<LongLived> {
    let bounded = theirs.iter().map(|one| LongLived { seconds: one.seconds.min(settings.long_lived_time), ..*one });
    bounded.filter(|one| one.seconds > 0 && families.contains(&one.family)).collect()
}

/// RFC 7911 section 5: a direction of a family has path identifiers where the one end said that it sends them, and the other
/// that it receives them. Of several tuples for a family the last one counts.
fn path_ids(settings: &Settings, open: &Open, families: &[AfiSafi]) -> PathIds {
    let tuples = open.capabilities.iter().filter_map(|capability| match capability {
        Capability::AddPaths(tuples) => Some(tuples),
        _ => None,
    });
    let theirs: Vec<&AddPath> = tuples.flatten().collect();
    let of = |wanted: bool, theirs_says: fn(&AddPath) -> bool| -> Vec<AfiSafi> {
        let agreed =
            |family: &&AfiSafi| theirs.iter().rfind(|it| it.family == **family).is_some_and(|it| theirs_says(it));
        families.iter().filter(|_| wanted).filter(agreed).copied().collect()
    };
    PathIds {
        received: of(settings.add_paths.receive, |it| it.sends),
        sent: of(settings.add_paths.sends(), |it| it.receives),
    }
}

/// RFC 9234 section 4.2: several roles that differ are as bad as one that is not ours' counterpart.
fn check_role(settings: &Settings, open: &Open) -> Result<(), Notification> {
    let Some(ours) = settings.role else { return Ok(()) };
    let mut theirs = open.capabilities.iter().filter_map(|capability| match capability {
        Capability::Role(role) => Some(*role),
        _ => None,
    });
    let Some(first) = theirs.next() else {
        return if settings.role_strict { Err(Notification::role_mismatch()) } else { Ok(()) };
    };
    let agreed = first == ours.counterpart() as u8 && theirs.all(|other| other == first);
    if agreed { Ok(()) } else { Err(Notification::role_mismatch()) }
}

/// RFC 4760 section 8: a neighbour that names no family speaks IPv4 unicast.
fn common_families(open: &Open) -> Result<Vec<AfiSafi>, Notification> {
    let mut theirs = open.capabilities.iter().filter_map(|capability| match capability {
        Capability::Multiprotocol(family) => Some(*family),
        _ => None,
    });
    let offered: Vec<AfiSafi> = theirs.by_ref().collect();
    if offered.is_empty() {
        return Ok(vec![AfiSafi::IPV4_UNICAST]);
    }
    let common: Vec<AfiSafi> = FAMILIES.into_iter().filter(|family| offered.contains(family)).collect();
    if common.is_empty() {
        return Err(Notification::unsupported_capability(wanted_families()));
    }
    Ok(common)
}

/// Our families as they stand in an OPEN (RFC 5492 section 5): code 1, length 4, AFI, reserved, SAFI.
fn wanted_families() -> Vec<u8> {
    FAMILIES.iter().flat_map(|f| [&[1, 4][..], &f.afi.to_be_bytes(), &[0, f.safi]].concat()).collect()
}
