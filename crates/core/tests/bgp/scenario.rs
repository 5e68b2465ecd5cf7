//! Random nets of the model tests: who holds whom how, and what happens to them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use routenet_core::bgp::filter;
use routenet_core::model::filter::*;
use routenet_core::model::peering::{BgpRole, NextHopMode};
use routenet_core::model::{Cidr, Family, ImportPolicy};

use crate::naive::{GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED};
use crate::policy::{Carries, Filters, Net, Operation, Rule};
use crate::world::{address, cidr};

pub const PREFIXES: [&str; 7] =
    ["10.1.0.0/24", "10.1.0.7/32", "10.2.0.0/24", "10.3.0.0/16", "fd01::/64", "fd01::7/128", "fd02::/64"];
pub const POOLS: [&str; 4] = ["10.1.0.0/16", "10.2.0.0/15", "fd01::/32", "0.0.0.0/0"];
const COMMUNITIES: [u32; 6] =
    [NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED, GRACEFUL_SHUTDOWN, 64512 << 16 | 7, 64513 << 16 | 8];

/// The most that anybody wants his routes kept beyond the restart time, in seconds.
pub const LONG_LIVED: u32 = 40;

/// How one speaker holds another.
#[derive(Clone, Debug)]
pub struct Side {
    pub import: ImportPolicy,
    pub client: bool,
    pub next_hop: NextHopMode,
    pub allowed_local_as: u8,
    pub passive: bool,
    pub local_as: Option<u32>,
    pub role_strict: bool,
    /// It takes any other AS than its own.
    pub any_other: bool,
    pub filters: Filters,
}

impl Side {
    /// Everything passes as it is.
    pub fn open() -> Side {
        Side {
            import: ImportPolicy::All,
            client: false,
            next_hop: NextHopMode::Auto,
            allowed_local_as: 0,
            passive: false,
            local_as: None,
            role_strict: false,
            any_other: false,
            filters: Filters::default(),
        }
    }
}

/// What two are to each other.
pub type Roles = [Option<BgpRole>; 2];

#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// Whether everybody tells everybody all paths (RFC 7911). Loops are not allowed then, nor another AS than the speaker's
    /// own, by which a route may go round for ever: there would be more paths than anybody could look at.
    pub all_paths: bool,
    /// One a speaker: its AS, whether it is of the one cluster that several may be of, and its long-lived stale time.
    pub speakers: Vec<(u32, bool, u32)>,
    /// Whether the two have a session, what they are to each other, and how each side holds the other: one for each pair.
    pub pairs: Vec<(bool, Roles, [Side; 2])>,
    pub steps: Vec<Step>,
}

/// What happens, to which speaker, and to which neighbour of it; numbers beyond what there is begin anew.
#[derive(Clone, Debug)]
pub enum Step {
    Announce(usize, usize),
    Withdraw(usize, usize),
    Break(usize, usize),
    Cut(usize, usize),
    Mend,
    Kill(usize),
    /// The process leaves as an agent does that is to be started again.
    Leave(usize),
    /// Starts it, if it is not running; whether it says that it has restarted.
    Boot(usize, bool),
    Import(usize, usize, ImportPolicy),
    Filters(usize, usize, Box<Filters>),
    Pools(usize, usize),
    MaxPrefixes(usize, usize, u32, Option<u32>),
    Client(usize, usize, bool),
    NextHop(usize, usize, NextHopMode),
    AllowedLocalAs(usize, usize, u8),
    /// On both sides, one after the other.
    LocalAs(usize, usize, Option<u32>),
    Roles(usize, usize, Roles),
    Reset(usize, usize),
    /// With so many seconds for the neighbours to move away.
    Drain(usize, u64),
    Undrain(usize),
    Wait(u64),
}

fn import() -> impl Strategy<Value = ImportPolicy> {
    prop_oneof![4 => Just(ImportPolicy::All), 2 => Just(ImportPolicy::Pools), 1 => Just(ImportPolicy::None)]
}

fn next_hop() -> impl Strategy<Value = NextHopMode> {
    prop_oneof![6 => Just(NextHopMode::Auto), 1 => Just(NextHopMode::Own), 1 => Just(NextHopMode::Keep)]
}

fn allowed() -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0u8), 1 => Just(1u8)]
}

/// One of those that speakers are of, or one beyond.
fn as_number() -> impl Strategy<Value = u32> {
    64512u32..64517
}

fn local_as() -> impl Strategy<Value = Option<u32>> {
    option::weighted(0.15, as_number())
}

fn roles() -> impl Strategy<Value = Roles> {
    let role = || proptest::sample::select(BgpRole::ALL.to_vec());
    let pair = role().prop_map(|role| {
        let other = match role {
            BgpRole::Provider => BgpRole::Customer,
            BgpRole::Customer => BgpRole::Provider,
            BgpRole::Rs => BgpRole::RsClient,
            BgpRole::RsClient => BgpRole::Rs,
            BgpRole::Peer => BgpRole::Peer,
        };
        [Some(role), Some(other)]
    });
    // A neighbour without a role keeps nothing to itself, so what leaks comes by such.
    let alone =
        (role(), any::<bool>()).prop_map(|(role, first)| if first { [Some(role), None] } else { [None, Some(role)] });
    prop_oneof![5 => Just([None, None]), 4 => pair, 3 => alone, 1 => [option::of(role()), option::of(role())]]
}

fn net(family: Family) -> impl Strategy<Value = Net> {
    let known = PREFIXES.iter().chain(&POOLS).map(|text| cidr(text)).filter(move |net| net.family() == family);
    let known: Vec<Cidr> = known.collect();
    let shortest = prop_oneof![3 => Just(0u8), 1 => Just(25u8)];
    (proptest::sample::select(known), any::<bool>(), shortest, proptest::bool::weighted(0.2))
        .prop_map(|(of, inside, shortest, not)| Net { of, inside, shortest: if inside { shortest } else { 0 }, not })
}

fn communities() -> impl Strategy<Value = Vec<u32>> {
    vec(proptest::sample::select(COMMUNITIES.to_vec()), 1..3)
}

/// LOCAL_PREF is what most nets without an end come of, so few have it.
fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => proptest::sample::select(COMMUNITIES.to_vec()).prop_map(Operation::Add),
        2 => proptest::sample::select(COMMUNITIES.to_vec()).prop_map(Operation::Remove),
        2 => communities().prop_map(Operation::Set),
        2 => vec(64512u32..64520, 1..3).prop_map(Operation::Prepend),
        6 => (0u32..3).prop_map(Operation::Med),
        1 => proptest::sample::select(vec![0, 99, 100, 200]).prop_map(Operation::LocalPref),
        2 => any::<bool>().prop_map(Operation::NextHop),
    ]
}

fn carries() -> impl Strategy<Value = Carries> {
    proptest::sample::select(vec![Carries::Any, Carries::All, Carries::None])
}

fn rule() -> impl Strategy<Value = Rule> {
    let family = prop_oneof![2 => Just(Family::V4), 1 => Just(Family::V6)];
    family.prop_flat_map(|family| {
        let conditions = (
            option::weighted(0.4, net(family)),
            option::weighted(0.15, any::<bool>()),
            option::weighted(0.1, 0usize..5),
            option::weighted(0.1, any::<bool>()),
            option::weighted(0.2, (carries(), communities())),
            vec(as_number(), 1..2),
            option::weighted(0.1, as_number()),
            option::weighted(0.1, (0usize..5).prop_map(address)),
        );
        let begins = proptest::bool::weighted(0.1);
        (proptest::bool::weighted(0.75), conditions, begins, vec(operation(), 1..4)).prop_map(
            move |(accept, conditions, begins, operations)| {
                let (net, learned, source, external, communities, path_begins, path_has, via) = conditions;
                Rule {
                    accept,
                    family,
                    net,
                    learned,
                    source,
                    external,
                    communities,
                    path_begins: if begins { path_begins } else { Vec::new() },
                    path_has,
                    via,
                    operations: if accept { operations } else { Vec::new() },
                }
            },
        )
    })
}

fn filters() -> impl Strategy<Value = Filters> {
    let lists = || vec(vec(rule(), 1..4), 0..3);
    let some = (lists(), lists(), proptest::bool::weighted(0.03));
    let some = some.prop_map(|(import, export, missing)| Filters { import, export, missing });
    prop_oneof![1 => Just(Filters::default()), 1 => some]
}

fn side() -> impl Strategy<Value = Side> {
    let passive = prop_oneof![5 => Just(false), 1 => Just(true)];
    let strict = proptest::bool::weighted(0.2);
    (import(), any::<bool>(), next_hop(), allowed(), passive, local_as(), (strict, any::<bool>()), filters()).prop_map(
        |(import, client, next_hop, allowed_local_as, passive, local_as, (role_strict, any_other), filters)| Side {
            import,
            client,
            next_hop,
            allowed_local_as,
            passive,
            local_as,
            role_strict,
            any_other,
            filters,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let one = || 0usize..5;
    let two = || (0usize..5, 0usize..4);
    let policy = prop_oneof![
        2 => (two(), import()).prop_map(|((s, n), import)| Step::Import(s, n, import)),
        4 => (two(), filters()).prop_map(|((s, n), filters)| Step::Filters(s, n, Box::new(filters))),
        2 => (one(), 0usize..16).prop_map(|(s, mask)| Step::Pools(s, mask)),
        2 => (two(), 0u32..6, prop_oneof![Just(None), Just(Some(20))])
            .prop_map(|((s, n), limit, restart)| Step::MaxPrefixes(s, n, limit, restart)),
        1 => (two(), any::<bool>()).prop_map(|((s, n), client)| Step::Client(s, n, client)),
        1 => (two(), next_hop()).prop_map(|((s, n), mode)| Step::NextHop(s, n, mode)),
        1 => (two(), allowed()).prop_map(|((s, n), most)| Step::AllowedLocalAs(s, n, most)),
        1 => (two(), local_as()).prop_map(|((s, n), number)| Step::LocalAs(s, n, number)),
        1 => (two(), roles()).prop_map(|((s, n), roles)| Step::Roles(s, n, roles)),
    ];
    prop_oneof![
        6 => (one(), 0..PREFIXES.len()).prop_map(|(s, p)| Step::Announce(s, p)),
        3 => (one(), 0..PREFIXES.len()).prop_map(|(s, p)| Step::Withdraw(s, p)),
        2 => two().prop_map(|(s, n)| Step::Break(s, n)),
        2 => two().prop_map(|(s, n)| Step::Cut(s, n)),
        2 => Just(Step::Mend),
        2 => one().prop_map(Step::Kill),
        1 => one().prop_map(Step::Leave),
        4 => (one(), any::<bool>()).prop_map(|(s, restarting)| Step::Boot(s, restarting)),
        14 => policy,
        2 => two().prop_map(|(s, n)| Step::Reset(s, n)),
        1 => (one(), prop_oneof![Just(0u64), 1u64..60]).prop_map(|(s, notice)| Step::Drain(s, notice)),
        1 => one().prop_map(Step::Undrain),
        6 => prop_oneof![0u64..200, 200u64..20_000, 20_000u64..200_000].prop_map(Step::Wait),
    ]
}

pub fn scenario() -> impl Strategy<Value = Scenario> {
    let long_lived = prop_oneof![Just(0u32), Just(LONG_LIVED), 1..LONG_LIVED];
    let speakers = vec((64512u32..64515, any::<bool>(), long_lived), 2..=5);
    speakers.prop_flat_map(|speakers| {
        let count = speakers.len();
        let pairs = count * (count - 1) / 2;
        let connected = prop_oneof![4 => Just(true), 1 => Just(false)];
        let pairs = vec((connected, roles(), [side(), side()]), pairs);
        // One speaker that has to choose among all others, as few have to by chance.
        let wanted = any::<bool>()
            .prop_map(move |all| if all { (1..count).map(|s| Step::Announce(s, 0)).collect() } else { vec![] });
        let all_paths = prop_oneof![2 => Just(false), 1 => Just(true)];
        (any::<u64>(), all_paths, Just(speakers), pairs, wanted, vec(step(), 1..60)).prop_map(
            |(seed, all_paths, speakers, pairs, wanted, steps)| {
                let steps = wanted.into_iter().chain(steps).collect();
                Scenario { seed, all_paths, speakers, pairs, steps }
            },
        )
    })
}

/// The speaker's own filters for those of the model.
pub fn ready(filters: &Filters) -> filter::Filters {
    let lists = filters.import.len().max(filters.export.len());
    let names: Vec<String> = (0..lists + usize::from(filters.missing)).map(|number| format!("f{number}")).collect();
    let known = |name: &str| {
        let number = names.iter().position(|known| known == name).filter(|number| *number < lists)?;
        let of = |list: &[Vec<Rule>], family: Family| -> Vec<FilterRule> {
            let rules = list.get(number).into_iter().flatten();
            rules.filter(|rule| rule.family == family).map(spelled).collect()
        };
        Some(BgpFilter {
            name: name.to_string(),
            import4: of(&filters.import, Family::V4),
            import6: of(&filters.import, Family::V6),
            export4: of(&filters.export, Family::V4),
            export6: of(&filters.export, Family::V6),
        })
    };
    filter::Filters::new(&names, known, |_| None)
}

fn spelled(rule: &Rule) -> FilterRule {
    let operator = |net: &Net| match (net.inside, net.not) {
        (true, false) => MatchOperator::In,
        (true, true) => MatchOperator::NotIn,
        (false, false) => MatchOperator::Equal,
        (false, true) => MatchOperator::NotEqual,
    };
    let pattern = |value: &u32| CommunityPattern::Standard([Some((value >> 16) as u16), Some(*value as u16)]);
    let communities = |(carries, values): &(Carries, Vec<u32>)| CommunityMatch {
        operator: match carries {
            Carries::Any => CommunityOperator::AnyOf,
            Carries::All => CommunityOperator::AllOf,
            Carries::None => CommunityOperator::NoneOf,
        },
        values: values.iter().map(pattern).collect(),
    };
    let containing =
        |number: u32| AsPathPattern(vec![AsPathToken::Any, AsPathToken::Number(number, number), AsPathToken::Any]);
    let operation = |operation: &Operation| match operation {
        Operation::Add(value) => FilterOperation::AddCommunity(Community::Standard(*value)),
        Operation::Remove(value) => FilterOperation::RemoveCommunity(pattern(value)),
        Operation::Set(values) => {
            FilterOperation::SetCommunities(values.iter().map(|value| Community::Standard(*value)).collect())
        }
        Operation::Prepend(numbers) => FilterOperation::PrependAsPath(numbers.clone()),
        Operation::Med(value) => FilterOperation::SetMed(*value),
        Operation::LocalPref(value) => FilterOperation::SetLocalPreference(*value),
        Operation::NextHop(true) => FilterOperation::SetNextHop(NextHopChoice::Keep),
        Operation::NextHop(false) => FilterOperation::SetNextHop(NextHopChoice::Own),
    };
    FilterRule {
        action: if rule.accept { FilterAction::Accept } else { FilterAction::Reject },
        cidr: rule.net.as_ref().map(|net| (operator(net), net.of)),
        prefix_length: rule.net.as_ref().map(|net| LengthRange { min: Some(net.shortest), max: None }),
        source: rule.learned.map(|learned| if learned { RouteSource::RemotePeers } else { RouteSource::Own }),
        source_peers: rule.source.map(|source| address(source).to_string()).into_iter().collect(),
        peer_type: rule.external.map(|external| if external { PeerType::External } else { PeerType::Internal }),
        communities: rule.communities.as_ref().map(communities),
        as_path_prefix: rule.path_begins.clone(),
        as_path: rule.path_has.map(containing),
        next_hops: rule.via.map(Cidr::host).into_iter().collect(),
        operations: rule.operations.iter().map(operation).collect(),
    }
}
