//! Every key of the node's configuration, for people and for the README.

/// What one key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDoc {
    /// With dots; `[]` stands for an item of a list: `bgp.peers[].address`.
    pub key: &'static str,
    pub type_: &'static str,
    /// `required`, or what holds where the key is absent.
    pub default: &'static str,
    pub doc: &'static str,
}

const fn field(key: &'static str, type_: &'static str, default: &'static str, doc: &'static str) -> FieldDoc {
    FieldDoc { key, type_, default, doc }
}

/// In the order in which one writes a file. `store.peers[]` has the keys of `bgp.peers[]`.
pub const REFERENCE: &[FieldDoc] = &[
    field("apiVersion", "`routenet/v1`", "`routenet/v1`", "The version of this file's shape."),
    field("kind", "`NodeConfig`", "`NodeConfig`", "What this file is."),
    field("node", "name", "required", "The name of this node in the cluster, as other nodes know it (RFC 1123)."),
    field("labels", "mapping of texts", "none", "Labels of the node, for `nodeSelector` of pools and peers."),
    field(
        "dataPlane",
        "`kernel` or `off`",
        "`kernel`",
        "`off` makes a BGP speaker that touches no kernel and needs no root; `bgp.as`, `bgp.routerId` and `bgp.listen` are then required.",
    ),
    field(
        "address",
        "mapping",
        "required, but for `dataPlane: off`",
        "The underlay addresses: other hosts reach this host's workloads by them. At least one of the keys below.",
    ),
    field("address.ipv4", "IPv4 address", "none", "The IPv4 address of this host."),
    field("address.ipv6", "IPv6 address", "none", "The IPv6 address of this host."),
    field(
        "address.auto",
        "list",
        "none",
        "Where to find the address of a family that is not given, in order. More than one candidate is an error, never luck.",
    ),
    field("address.auto[].interface", "interface name", "none", "Take the global address of this interface."),
    field("address.auto[].cidr", "CIDR", "none", "Take the address that lies in this CIDR."),
    field(
        "store",
        "mapping",
        "`type: embedded`; `type: none` with `dataPlane: off`",
        "Where the cluster's objects are.",
    ),
    field(
        "store.type",
        "`embedded` or `none`",
        "required",
        "`embedded`: one SQLite file, shared by agents of one machine. `none`: this file says it all.",
    ),
    field("store.path", "path", "`cluster.db` in `paths.state`", "The file of the embedded store."),
    field("store.pools", "list", "none", "`type: none`: the address pools of the cluster; the same on each node."),
    field("store.pools[].name", "name", "required", "The pool's name."),
    field("store.pools[].cidr", "CIDR", "required", "The pool's addresses. Pools never overlap."),
    field("store.pools[].blockSize", "number", "26, and 122 for IPv6", "The prefix length of blocks."),
    field("store.pools[].disabled", "boolean", "false", "Whether no new address is taken from the pool."),
    field("store.pools[].nodeSelector", "selector", "`all()`", "Which nodes use the pool, by their labels."),
    field(
        "store.pools[].unreachableRoute",
        "boolean",
        "true",
        "Whether an address of the pool that nobody has is unreachable, and never follows the default route.",
    ),
    field("store.networks", "list", "none", "`type: none`: the networks; each has pools of its own."),
    field("store.networks[].name", "name", "required", "The network's name, as a CNI configuration names it."),
    field(
        "store.networks[].pools",
        "list of names",
        "required",
        "The pools that its addresses come from; one of each family for dual stack.",
    ),
    field(
        "store.networks[].isolation",
        "`network` or `open`",
        "`network`",
        "What holds where no policy applies: `network` accepts what comes from the same network, `open` accepts all.",
    ),
    field(
        "store.blocks",
        "list of CIDRs",
        "none",
        "`type: none`: the blocks that this node owns; no other node may have them.",
    ),
    field("store.peers", "list", "none", "`type: none`: BGP neighbours, with the keys of `bgp.peers`."),
    field(
        "store.policies",
        "path",
        "none",
        "`type: none`: a directory of policies and network sets in YAML, read at start and on SIGHUP.",
    ),
    field("bgp", "mapping", "the defaults below", "The BGP speaker."),
    field(
        "bgp.as",
        "AS number",
        "that of BGPConfiguration `default`, else 64512",
        "The AS of this node; 4-byte numbers plain or dotted (`1.10`).",
    ),
    field(
        "bgp.routerId",
        "four numbers",
        "the IPv4 address",
        "The BGP identifier (RFC 4271); needed where the node has no IPv4 address.",
    ),
    field(
        "bgp.listen",
        "list of ADDRESS:PORT",
        "`[\"[::]:179\"]`, both families",
        "Where the speaker listens; `[]`: nowhere, it only connects.",
    ),
    field(
        "bgp.mesh",
        "boolean",
        "true; false with `dataPlane: off`",
        "Whether this node peers with all other nodes of the store.",
    ),
    field(
        "bgp.announce",
        "`hosts` or `blocks`",
        "`hosts`",
        "Announce every /32 and /128 of this host, or its blocks and what lies outside of them.",
    ),
    field("bgp.holdTime", "seconds", "90", "The hold time to propose (RFC 4271): 0 (none), or at least 3."),
    field("bgp.connectRetry", "seconds", "5", "The time between attempts to connect."),
    field(
        "bgp.gracefulRestart",
        "mapping",
        "on",
        "Graceful restart (RFC 4724): a restart of the agent loses no packet.",
    ),
    field("bgp.gracefulRestart.enabled", "boolean", "true", "Whether it is offered to peers."),
    field(
        "bgp.gracefulRestart.restartTime",
        "seconds",
        "120",
        "How long peers keep the routes while the agent is away; at most 4095, 0 is off.",
    ),
    field("bgp.peers", "list", "none", "Neighbours of this node, beside the mesh and the BGPPeers of the store."),
    field(
        "bgp.peers[].name",
        "text",
        "the address, with its port unless 179",
        "The neighbour's name in listings and errors.",
    ),
    field("bgp.peers[].address", "address", "required", "The neighbour's address."),
    field("bgp.peers[].as", "AS number", "required", "The neighbour's AS: ours makes it iBGP, another eBGP."),
    field("bgp.peers[].port", "number", "179", "The TCP port to connect to."),
    field(
        "bgp.peers[].passive",
        "boolean",
        "false",
        "Whether to wait for the neighbour to connect, never connecting ourselves.",
    ),
    field(
        "bgp.peers[].import",
        "`none`, `pools` or `all`",
        "`none`",
        "Which routes are accepted from it: nothing (RFC 8212), what lies in the pools, or everything.",
    ),
    field("bgp.peers[].holdTime", "seconds", "`bgp.holdTime`", "The hold time to propose to this neighbour."),
    field(
        "bgp.originate",
        "list of CIDRs",
        "none",
        "`dataPlane: off`: prefixes that the speaker announces of its own accord.",
    ),
    field("iptables", "mapping", "the defaults below", "The firewall."),
    field(
        "iptables.backend",
        "`auto`, `nft` or `legacy`",
        "`auto`",
        "Which iptables to use. `auto`: what the system's `iptables` is, unless only the other one holds rules.",
    ),
    field("iptables.markMask", "number", "`0xffff0000`", "The packet mark bits that are ours; at least 2."),
    field("workloads", "mapping", "the defaults below", "What holds for all workloads of this host."),
    field("workloads.mtu", "bytes", "the underlay's", "The MTU of workloads' interfaces, 1280 to 65535."),
    field("workloads.toHost", "boolean", "false", "Whether a workload may open connections to its host."),
    field(
        "workloads.addressCooldown",
        "seconds",
        "30",
        "How long an address rests before it is given out again; at most a day.",
    ),
    field("paths", "mapping", "the defaults below", "Where things are; two agents on one machine need two of each."),
    field("paths.state", "path", "`/var/lib/routenet`", "The directory of the node's own state."),
    field(
        "paths.socket",
        "path",
        "`/run/routenet/agent.sock`",
        "The agent's socket, for `routectl` and the CNI plugin; at most 107 bytes.",
    ),
    field("api", "mapping", "root only", "Who may use the agent's socket, besides root and the agent's own user."),
    field("api.readGroup", "group", "none", "The group whose members may look, by name or number."),
    field("api.writeGroup", "group", "none", "The group whose members may change things as well."),
    field("log", "mapping", "the defaults below", "The log, on standard error."),
    field(
        "log.level",
        "text",
        "`info`",
        "`error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,routenet::plane=debug`.",
    ),
];
