//! A node's part of the mesh: full up to the limit, reflectors beyond it, and nobody reflects for another AS or family.

use super::*;

const OURS: Class = Class { as_number: 64512, ipv4: true };

fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("node-{index}")).collect()
}

fn plan(own: &str, names: &[String], layout: MeshLayout) -> Plan {
    Plan::new((own, OURS), names.iter().map(|name| (name.as_str(), OURS)), layout)
}

#[test]
fn up_to_the_limit_the_mesh_is_full_and_beyond_it_some_reflect() {
    let names = names(6);
    for layout in [MeshLayout::Full, MeshLayout::Auto { limit: 6 }] {
        let plan = plan("node-0", &names, layout);
        assert_eq!((plan.role.clone(), plan.peers.len(), plan.name.as_str()), (Role::Full, 5, "full"));
        assert!(plan.peers.values().all(|hold| *hold == Hold::Plain), "{plan:?}");
    }
    let plans: Vec<Plan> = names.iter().map(|name| plan(name, &names, MeshLayout::Auto { limit: 5 })).collect();
    assert!(plans.iter().all(|plan| plan.name == plans[0].name && plan.members.len() == 5));
    let clients: Vec<&Plan> = plans.iter().filter(|plan| matches!(plan.role, Role::Client { .. })).collect();
    assert_eq!((plans.len(), clients.len()), (6, 2));
    for client in clients {
        let Role::Client { of } = &client.role else { unreachable!() };
        assert_eq!(client.peers.keys().collect::<BTreeSet<_>>(), of.iter().collect(), "its reflectors and nobody else");
        assert!(client.why().contains("6 nodes, and the mesh is full up to 5 only"), "{}", client.why());
    }
}

#[test]
fn a_plan_has_one_name_as_long_as_the_same_nodes_reflect() {
    let before = names(40);
    let layout = MeshLayout::Auto { limit: 10 };
    let name = |names: &[String]| plan("node-0", names, layout).name;
    let reflectors = plan("node-0", &before, layout).reflection.expect("reflectors").reflectors;
    for gone in &before[1..] {
        let left: Vec<String> = before.iter().filter(|name| *name != gone).cloned().collect();
        assert_eq!(name(&left) == name(&before), !reflectors.contains(gone), "{gone}");
    }
}

#[test]
fn nodes_of_another_as_or_family_have_sessions_whatever_the_plan() {
    let names = names(20);
    let others = [("alien", Class { as_number: 64513, ipv4: true }), ("six", Class { as_number: 64512, ipv4: false })];
    let all = names.iter().map(|name| (name.as_str(), OURS)).chain(others);
    let plan = Plan::new(("node-3", OURS), all, MeshLayout::Auto { limit: 10 });
    assert_eq!((plan.strangers, plan.members.len()), (2, 19));
    assert!(others.iter().all(|(name, _)| plan.peers.get(*name) == Some(&Hold::Plain)), "{plan:?}");
    assert!(others.iter().all(|(name, _)| !plan.reflection.as_ref().is_some_and(|it| it.reflectors.contains(*name))));
    let alone = Plan::new(
        ("alien", others[0].1),
        names.iter().map(|name| (name.as_str(), OURS)),
        MeshLayout::Auto { limit: 10 },
    );
    assert_eq!((alone.role, alone.peers.len()), (Role::Full, 20), "one of its class is few");
}
