//! From one plan to the next: new sessions at once, old ones when all have the new ones; and what is not waited for.

use super::*;
use crate::bgp::mesh::plan::Class;
use crate::model::MeshLayout;

const OURS: Class = Class { as_number: 64512, ipv4: true };
const AUTO: MeshLayout = MeshLayout::Auto { limit: 10 };

fn plan(own: &str, count: usize, layout: MeshLayout) -> Plan {
    let names: Vec<String> = (0..count).map(|index| format!("n{index}")).collect();
    Plan::new((own, OURS), names.iter().map(|name| (name.as_str(), OURS)), layout)
}

fn client(count: usize) -> String {
    plan("n0", count, AUTO).reflection.expect("reflectors").of.into_keys().next().expect("a client")
}

/// Every session has told, every node says this.
fn all_well(rollout: &Rollout, at: u64, in_place: &str) -> Facts {
    let said = Said { at, in_place: Some(in_place.to_string()) };
    Facts {
        current: true,
        sessions: rollout.peers().into_keys().map(|other| (other, Standing::Told)).collect(),
        covered: true,
        said: rollout.plan().members.iter().map(|other| (other.clone(), said.clone())).collect(),
    }
}

/// A client of twelve nodes that goes over from a full mesh to reflectors, settled.
fn changing() -> (Rollout, Plan) {
    let own = client(12);
    let (full, auto) = (plan(&own, 12, MeshLayout::Full), plan(&own, 12, AUTO));
    let mut rollout = Rollout::new(full.clone());
    let facts = all_well(&rollout, 1, "full");
    assert!(!rollout.look(&facts, Time::ZERO) && rollout.in_place() == Some("full") && !rollout.is_restless());
    assert!(!rollout.propose(auto.clone(), Time::ZERO), "it settles first");
    assert_eq!(rollout.plan(), &full);
    rollout.look(&facts, Time::from_millis(1999));
    assert_eq!(rollout.plan(), &full);
    rollout.look(&facts, Time::from_millis(2000));
    assert_eq!((rollout.plan(), rollout.in_place(), rollout.peers().len()), (&auto, None, 11));
    assert_eq!(rollout.leaving().len(), 9);
    (rollout, auto)
}

/// Seconds after the change.
fn after(seconds: u64) -> Time {
    Time::from_millis(2000 + 1000 * seconds)
}

#[test]
fn the_old_sessions_go_when_every_node_has_the_new_ones() {
    let (mut rollout, auto) = changing();
    let facts = all_well(&rollout, 2, &auto.name);
    assert!(!rollout.look(&facts, after(1)) && !rollout.look(&facts, after(3)));
    assert_eq!(rollout.in_place(), Some(auto.name.as_str()));
    assert!(rollout.look(&facts, after(4)), "three seconds later");
    assert_eq!(rollout.peers(), auto.peers);
    assert!(!rollout.is_restless());
}

#[test]
fn what_one_session_or_one_node_lacks_keeps_all_of_them() {
    for what in ["a session", "its routes", "cover", "a node", "the store"] {
        let (mut rollout, auto) = changing();
        let reflector = auto.peers.keys().next().expect("a reflector").clone();
        let elsewhere = auto.members.iter().find(|other| !auto.peers.contains_key(*other)).expect("a client").clone();
        for second in 0..29 {
            let mut facts = all_well(&rollout, second, &auto.name);
            match what {
                "a session" => _ = facts.sessions.remove(&reflector),
                "its routes" => _ = facts.sessions.insert(reflector.clone(), Standing::Established),
                "cover" => facts.covered = false,
                "a node" => _ = facts.said.insert(elsewhere.clone(), Said { at: second, in_place: None }),
                _ => facts.current = false,
            }
            assert!(!rollout.look(&facts, after(second)), "{what}");
        }
        assert_eq!(rollout.peers().len(), 11, "{what}");
        assert!(rollout.waiting().is_some(), "{what}");
        let local = ["a node", "the store"].contains(&what);
        assert_eq!(rollout.in_place().is_some(), local, "{what}: others hear whether they may go on");
    }
}

#[test]
fn a_node_that_is_gone_is_not_waited_for_and_nothing_is_waited_for_for_ever() {
    let (mut rollout, auto) = changing();
    let reflector = auto.peers.keys().next().expect("a reflector").clone();
    let mut done = None;
    for second in 0..60 {
        let mut facts = all_well(&rollout, second, &auto.name);
        facts.sessions.remove(&reflector);
        facts.said.insert(reflector.clone(), Said { at: 0, in_place: None });
        if rollout.look(&facts, after(second)) {
            done = Some(second);
        }
    }
    assert_eq!(done, Some(33), "its silence and the three seconds");

    let (mut rollout, auto) = changing();
    let mut done = None;
    for second in 0..400 {
        let mut facts = all_well(&rollout, second, &auto.name);
        facts.covered = false;
        if rollout.look(&facts, after(second)) {
            done = Some(second);
        }
    }
    assert_eq!(done, Some(303));
}

/// While the store is away nobody has the new plan, and nobody could say so: what it was away for is waited for besides.
#[test]
fn an_outage_of_the_store_is_no_time_that_was_waited() {
    const BEGINS: u64 = 5;
    const LASTS: u64 = 400;
    let away = |second: u64| (BEGINS..BEGINS + LASTS).contains(&second);

    let (mut rollout, auto) = changing();
    let reads = BEGINS + LASTS + 20;
    let mut done = None;
    for second in 0..800 {
        let facts = match second {
            // What each of them said before the outage: of the old plan.
            _ if second < reads => Facts { current: !away(second), ..all_well(&rollout, second.min(BEGINS), "full") },
            _ => all_well(&rollout, second, &auto.name),
        };
        if rollout.look(&facts, after(second)) {
            done = Some(second);
        }
        assert!(!away(second) || rollout.waiting().is_some_and(|what| what.contains("the store")), "{second}");
    }
    assert_eq!(done, Some(reads + 3), "when the others have read it");

    // A neighbour that does not come has its time without the outage, and so has what is waited for at most.
    let (mut rollout, auto) = changing();
    let reflector = auto.peers.keys().next().expect("a reflector").clone();
    let (mut in_place, mut done) = (None, None);
    for second in 0..800 {
        let mut facts = Facts { current: !away(second), ..all_well(&rollout, second, &auto.name) };
        facts.sessions.remove(&reflector);
        facts.said.insert(reflector.clone(), Said { at: second, in_place: None });
        if rollout.look(&facts, after(second)) {
            done = Some(second);
        }
        in_place = in_place.or(rollout.in_place().map(|_| second));
    }
    let lost = LASTS + 1;
    assert_eq!((in_place, done), (Some(30 + lost), Some(303 + lost)), "a second on either side of it is not known");
}

#[test]
fn what_comes_and_goes_while_it_settles_is_one_change_and_a_client_that_comes_none() {
    let own = client(40);
    let mut rollout = Rollout::new(plan(&own, 40, MeshLayout::Full));
    for second in 0..9 {
        assert!(!rollout.propose(plan(&own, 41 + second as usize, AUTO), Time::from_millis(1000 * second)));
        rollout.look(&Facts::default(), Time::from_millis(1000 * second));
        assert_eq!(rollout.plan().name, "full");
    }
    rollout.propose(plan(&own, 40, MeshLayout::Full), Time::from_millis(9000));
    assert!(!rollout.is_changing(), "nothing has come of it");

    let reflector = plan("n0", 40, AUTO).reflection.expect("some").reflectors.into_iter().next().expect("one");
    let before = plan(&reflector, 40, AUTO);
    let mut rollout = Rollout::new(before.clone());
    let more = (41..80).map(|count| plan(&reflector, count, AUTO));
    let more = more.take_while(|plan| plan.name == before.name).find(|plan| plan.peers.len() > before.peers.len());
    let more = more.expect("a client of this one comes before another reflector does");
    assert!(rollout.propose(more.clone(), Time::ZERO), "at once");
    assert_eq!(rollout.peers(), more.peers);
}

#[test]
fn where_the_mesh_is_full_or_off_changes_are_at_once() {
    let mut rollout = Rollout::new(plan("n1", 3, AUTO));
    assert!(rollout.propose(plan("n1", 4, AUTO), Time::ZERO) && rollout.peers().len() == 3);
    assert!(rollout.propose(plan("n1", 2, AUTO), Time::ZERO) && rollout.peers().len() == 1);
    assert!(rollout.propose(Plan::apart(), Time::ZERO) && rollout.peers().is_empty());
    assert!(rollout.propose(plan("n1", 4, MeshLayout::Full), Time::ZERO) && rollout.peers().len() == 3);
}

#[test]
fn back_and_forth_before_it_is_done_keeps_what_was_there() {
    let (mut rollout, auto) = changing();
    let facts = all_well(&rollout, 2, &auto.name);
    rollout.look(&facts, after(1));
    let own = client(12);
    rollout.propose(plan(&own, 12, MeshLayout::Full), after(2));
    rollout.look(&facts, after(4));
    assert_eq!((rollout.plan().name.as_str(), rollout.in_place(), rollout.peers().len()), ("full", None, 11));
    assert!(!rollout.look(&facts, after(5)), "what they say is of the other plan");
    assert!(rollout.leaving().is_empty());
}
