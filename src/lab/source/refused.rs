//! The fields of containerlab that are refused, each with why and what to do instead: ignoring one would deploy
//! something else than the file says. Asked by [`super::parse`] for a field that nothing else knows.

/// Field, why, mend.
const FIELDS: &[(&str, &str, &str)] = &[
    ("aliases", "the lab has no name service", "append to `/etc/hosts` by `exec`"),
    (
        "certificate",
        "no certificate authority comes with the lab",
        "bring the certificate and its key along by `binds`",
    ),
    ("components", "nodes have no cards", REMOVE),
    ("cpu", "nodes have no limits of their own", "run the program under `systemd-run` or `cpulimit` in `cmd`"),
    ("cpu-set", "nodes have no limits of their own", "write `cmd: taskset -c 0-3 PROGRAM`"),
    ("credentials", "no kind of node here has a login", REMOVE),
    ("devices", "a node's `/dev` is the machine's", "remove it: what is there is there in every node"),
    ("dns", "a node has the machine's `/etc/resolv.conf`", "bring another along by `binds`"),
    ("driver-opts", "the management network is a plain bridge", REMOVE),
    ("external-access", "the management network is a plain bridge", "add routes and NAT to it by hand"),
    ("extras", "it is for kinds that are not deployed here", REMOVE),
    ("ipv4", "links have no addresses", "write `exec: [ip address add ...]` in the node"),
    ("ipv4-range", "nodes get no addresses of the management network", "write them as `exec: [ip address add ...]`"),
    ("ipv6", "links have no addresses", "write `exec: [ip address add ...]` in the node"),
    ("ipv6-range", "nodes get no addresses of the management network", "write them as `exec: [ip address add ...]`"),
    ("kernel", "nodes share the machine's kernel", REMOVE),
    ("memory", "nodes have no limits of their own", "write `cmd: prlimit --as=BYTES PROGRAM`"),
    ("mgmt-ipv4", MANAGEMENT, BY_LINK),
    ("mgmt-ipv6", MANAGEMENT, BY_LINK),
    ("mgmt_ipv4", MANAGEMENT, BY_LINK),
    ("mgmt_ipv6", MANAGEMENT, BY_LINK),
    ("mode", "it is a field of `macvlan`, which is not made here", "take a `host` link"),
    ("ports", "a namespace publishes no ports", "reach the node by a `host` link"),
    ("publish", "nothing here is published on the Internet", "reach the node by a `host` link"),
    ("remote", "it is a field of `vxlan`, which is not made here", "take a `host` link"),
    ("runtime", "nodes are namespaces, not containers of a runtime", REMOVE),
    ("sandbox", "nodes are namespaces, not containers of a runtime", REMOVE),
    ("settings", "no certificate authority comes with the lab", "bring certificates and keys along by `binds`"),
    ("shm-size", "a node's `/dev/shm` is the machine's", REMOVE),
    (
        "startup-config",
        "a `linux` node has no configuration of its own",
        "bring the file along by `binds`, where the program reads it",
    ),
    ("udp-port", "it is a field of `vxlan`, which is not made here", "take a `host` link"),
    ("ulimits", "nodes have no limits of their own", "write `cmd: prlimit ... PROGRAM`"),
    ("user", "what runs in a node runs as root", "write `cmd: setpriv --reuid=USER --clear-groups PROGRAM`"),
    ("vars", "nodes are not configured from templates", "bring what the template would make along by `binds`"),
    ("vni", "it is a field of `vxlan`, which is not made here", "take a `host` link"),
    ("wait-for", "it belongs to a stage", "write `stages: {create: {wait-for: [{node: X, stage: create}]}}`"),
];

const REMOVE: &str = "remove it";
const MANAGEMENT: &str = "nodes have no management address";
const BY_LINK: &str = "give the node a `mgmt-net:NAME` link and write `exec: [ip address add ...]`";

/// Why a field is refused, and what to do instead; `None` for one that containerlab does not know either.
pub fn of(field: &str) -> Option<(&'static str, &'static str)> {
    FIELDS.iter().find(|(name, ..)| *name == field).map(|(_, why, mend)| (*why, *mend))
}

/// All of them, for who tests that the page on labs has each.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(name, ..)| *name)
}
