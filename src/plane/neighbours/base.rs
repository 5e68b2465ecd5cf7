//! What `nft list` says of others' base chains in the forward hook.

use super::Neighbour;

const FIREWALLD: &str = "firewalld";
/// The tables that iptables-nft writes, in which only its own built-in chains are base chains.
const OF_IPTABLES: [&str; 5] = ["filter", "mangle", "nat", "raw", "security"];

/// A base chain that may drop what our chains have accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub family: String,
    pub table: String,
    pub chain: String,
}

/// Those in the forward hook that drop by policy, and firewalld's, which ends with a reject.
pub fn suspects(chains: &str) -> Vec<Suspect> {
    let (mut all, mut table, mut chain) = (Vec::new(), ("", ""), "");
    for line in chains.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, name, "{"] => table = (family, name),
            ["chain", name, "{"] => chain = name,
            ["type", "filter", "hook", "forward", ..] => {
                let (family, name) = table;
                let is_iptables = family != "inet" && OF_IPTABLES.contains(&name) && chain == "FORWARD";
                let drops = line.contains("policy drop") || name == FIREWALLD;
                if matches!(family, "inet" | "ip" | "ip6") && !is_iptables && drops {
                    all.push(Suspect { family: family.into(), table: name.into(), chain: chain.into() });
                }
            }
            _ => {}
        }
    }
    all
}

/// Whether a table's rules say something of the workloads' interfaces, or let everything through.
pub fn knows_workloads(table: &str) -> bool {
    table.contains("\"rnw") || table.lines().any(|line| line.trim() == "goto filter_FWD_trusted")
}

impl Suspect {
    pub fn told(self) -> Neighbour {
        let Suspect { family, table, chain } = self;
        if table == FIREWALLD {
            let mend = "firewall-cmd --permanent --zone=trusted --add-interface=rnw+; \
                        firewall-cmd --permanent --new-policy=workloads; \
                        firewall-cmd --permanent --policy=workloads --add-ingress-zone=ANY; \
                        firewall-cmd --permanent --policy=workloads --add-egress-zone=trusted; \
                        firewall-cmd --permanent --policy=workloads --set-target=ACCEPT; firewall-cmd --reload";
            return Neighbour {
                what: "firewalld judges what is forwarded beside our chains, and rejects what comes from or goes to \
                       workloads, since it does not know their interfaces"
                    .into(),
                mend: mend.into(),
            };
        }
        Neighbour {
            what: format!(
                "chain {chain} of nft's table {family} {table} drops what it does not know in the forward hook, whatever \
                 our chains accept, and does not know the workloads' interfaces"
            ),
            mend: format!(
                "nft insert rule {family} {table} {chain} iifname 'rnw*' accept; \
                 nft insert rule {family} {table} {chain} oifname 'rnw*' accept; and where that table is written down"
            ),
        }
    }
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
