//! IPPool and Network.

use crate::model::{
    Cidr, Encapsulation, EncapsulationMode, Family, Isolation, Network, NetworkName, Pool, PoolName, Reservation,
    TunnelKind,
};
use crate::policy::selector::Selector;

use super::fields::{At, Fields};

/// Ranges that no pool may touch, and what they are for.
const RESERVED: [(&str, &str); 7] = [
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses; workloads reach their host at 169.254.1.1"),
    ("224.0.0.0/3", "multicast and reserved addresses"),
    ("::/127", "the unspecified address and loopback"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast"),
];

pub fn read_pool(name: &str, mut spec: Fields<'_>) -> Option<Pool> {
    let cidr = spec.required("cidr", "a CIDR such as 10.65.0.0/16").and_then(|at| read_pool_cidr(&at));
    spec.not_built("disableBGPExport", &["false"]);
    spec.not_built("allowedUses", &["Workload", "Tunnel"]);
    spec.not_built("assignmentMode", &["Automatic"]);
    spec.not_built("namespaceSelector", &["all()"]);
    spec.not_built("ipip", &[]);
    spec.not_built("nat-outgoing", &["false"]);
    let pool = read_pool_rest(name, cidr, &mut spec);
    spec.finish();
    pool
}

/// What an IPPool has in common with a pool of the node's configuration.
pub fn read_pool_rest(name: &str, cidr: Option<Cidr>, fields: &mut Fields<'_>) -> Option<Pool> {
    let block_size = fields.take("blockSize");
    let disabled = fields.take("disabled").map(|at| at.boolean());
    let node_selector = fields.take("nodeSelector").map(|at| read_selector(&at));
    let unreachable_route = fields.take("unreachableRoute").map(|at| at.boolean());
    let nat_outgoing = fields.take("natOutgoing").map(|at| at.boolean());
    let modes = [TunnelKind::Ipip, TunnelKind::Vxlan].map(|kind| fields.take(mode_field(kind)).map(|at| (kind, at)));
    let encapsulation = read_encapsulation(modes, cidr);
    let cidr = cidr?;
    let block_size = match block_size {
        Some(at) => read_block_size(&at, cidr)?,
        None => default_block_size(cidr, fields)?,
    };
    Some(Pool {
        name: PoolName::new(name).ok()?,
        cidr,
        block_size,
        disabled: disabled.unwrap_or(Some(false))?,
        node_selector: node_selector.unwrap_or_else(|| Some("all()".to_string()))?,
        unreachable_route: unreachable_route.unwrap_or(Some(true))?,
        encapsulation: encapsulation?,
        nat_outgoing: nat_outgoing.unwrap_or(Some(false))?,
    })
}

/// The field that says how much goes through such a tunnel.
pub const fn mode_field(kind: TunnelKind) -> &'static str {
    match kind {
        TunnelKind::Ipip => "ipipMode",
        TunnelKind::Vxlan => "vxlanMode",
    }
}

pub const MODES: [(&str, EncapsulationMode); 4] = [
    ("Never", EncapsulationMode::Never),
    ("Always", EncapsulationMode::Always),
    ("CrossSubnet", EncapsulationMode::CrossSubnet),
    ("Auto", EncapsulationMode::Auto),
];

/// What the field of such a tunnel says of a pool.
pub fn mode_word(pool: &Pool, kind: TunnelKind) -> &'static str {
    let Encapsulation { mode, device } = pool.encapsulation;
    let mode = if device == kind { mode } else { EncapsulationMode::Never };
    MODES.iter().find(|(_, of)| *of == mode).map_or("Never", |(word, _)| *word)
}

fn read_encapsulation(modes: [Option<(TunnelKind, At<'_>)>; 2], cidr: Option<Cidr>) -> Option<Encapsulation> {
    let mut chosen = Encapsulation::default();
    for (device, at) in modes.into_iter().flatten() {
        let mode = at.one_of("encapsulation mode", &MODES)?;
        if mode == EncapsulationMode::Never {
            continue;
        }
        if chosen.mode != EncapsulationMode::Never {
            return at.fail(
                "a pool has one kind of tunnel, and ipipMode names one already",
                Some("write Never here or there".to_string()),
            );
        }
        if device == TunnelKind::Ipip && cidr.is_some_and(|cidr| cidr.family() == Family::V6) {
            return at.fail("IPIP carries IPv4 only", Some("write vxlanMode instead".to_string()));
        }
        chosen = Encapsulation { mode, device };
    }
    Some(chosen)
}

pub fn read_pool_cidr(at: &At<'_>) -> Option<Cidr> {
    let cidr = read_cidr(at)?;
    for (range, what) in RESERVED {
        let range: Cidr = range.parse().expect("a valid CIDR");
        if range.overlaps(&cidr) {
            return at.fail(format!("{cidr} overlaps {range} ({what})"), None);
        }
    }
    Some(cidr)
}

/// A CIDR; a bare address is told its `/32`.
pub fn read_cidr(at: &At<'_>) -> Option<Cidr> {
    let text = at.word("a CIDR such as 10.0.0.0/16 or fd00::/64")?;
    match text.parse::<Cidr>() {
        Ok(cidr) => Some(cidr),
        Err(error) => {
            let bare = text.parse::<std::net::IpAddr>().ok().map(|address| format!("write {}", Cidr::host(address)));
            at.fail(error.to_string(), bare)
        }
    }
}

/// 26 and 122.
pub const fn usual_block_size(family: Family) -> u8 {
    match family {
        Family::V4 => 26,
        Family::V6 => 122,
    }
}

fn read_block_size(at: &At<'_>, cidr: Cidr) -> Option<u8> {
    let (first, last) = match cidr.family() {
        Family::V4 => (20, 32),
        Family::V6 => (116, 128),
    };
    let size = at.integer(first, last)? as u8;
    if size < cidr.length() {
        return at.fail(
            format!("a block of /{size} is larger than its pool {cidr}"),
            Some(format!("write a number from {} to {last}", cidr.length())),
        );
    }
    Some(size)
}

fn default_block_size(cidr: Cidr, fields: &Fields<'_>) -> Option<u8> {
    let size = usual_block_size(cidr.family());
    if cidr.length() <= size {
        return Some(size);
    }
    fields.at().fail_in(
        "blockSize",
        format!("the pool {cidr} is smaller than a block of the usual size, /{size}"),
        Some(format!("give it a larger cidr, or write `blockSize: {}`", cidr.length())),
    )
}

/// A selector's text, seen to be one.
pub fn read_selector(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    match Selector::parse(text) {
        Ok(_) => Some(text.to_string()),
        Err(error) => {
            let place = error.position + 1;
            let what = format!("bad selector at character {place}: expected {}, found {}", error.expected, error.found);
            at.fail(what, error.mend)
        }
    }
}

pub fn read_reservation(name: &str, mut spec: Fields<'_>) -> Option<Reservation> {
    let cidrs = spec.required("reservedCIDRs", "a list of CIDRs").and_then(|at| at.all(|item| read_cidr(&item)));
    spec.finish();
    Some(Reservation { name: name.to_string(), cidrs: cidrs? })
}

pub fn read_network(name: &str, mut spec: Fields<'_>) -> Option<Network> {
    let network = read_network_rest(name, &mut spec);
    spec.finish();
    network
}

/// What a Network has in common with a network of the node's configuration.
pub fn read_network_rest(name: &str, fields: &mut Fields<'_>) -> Option<Network> {
    let pools = fields.required("pools", "a list of pool names").and_then(|at| {
        let pools = at.each(|item| item.parse("the name of a pool", PoolName::new));
        if at.list()?.is_empty() {
            return at.fail("expected the name of a pool at least", None);
        }
        if let Some(twice) = pools.iter().enumerate().find(|(index, pool)| pools[..*index].contains(pool)) {
            return at.fail(format!("pool {} is named twice", twice.1), Some("remove one of them".to_string()));
        }
        Some(pools)
    });
    let isolation = fields.take("isolation").map(|at| at.one_of("isolation", &ISOLATION));
    Some(Network {
        name: NetworkName::new(name).ok()?,
        pools: pools?,
        isolation: isolation.unwrap_or(Some(Isolation::Network))?,
    })
}

const ISOLATION: [(&str, Isolation); 2] = [("network", Isolation::Network), ("open", Isolation::Open)];

pub fn isolation_word(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Network => "network",
        Isolation::Open => "open",
    }
}
