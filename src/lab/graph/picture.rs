//! What a picture of a topology shows, before anybody knows how and where: boxes and lines. Made for [`super`].

use super::super::topology::{Far, Kind, Network, Topology};

/// containerlab's label for a node's row, and its label for how a node looks.
const LEVEL: &str = "graph-level";
const ICON: &str = "graph-icon";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub boxes: Vec<Box>,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Box {
    pub name: String,
    /// What stands below the name.
    pub more: Vec<String>,
    pub shape: Shape,
    /// The row that the file asks for.
    pub level: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Host,
    Router,
    Switch,
    /// What is not in the lab.
    Outside,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Numbers of boxes, with the interface at each end.
    pub ends: [(usize, String); 2],
    /// Not a link: one box is in the other's network.
    pub shared: bool,
}

impl Picture {
    pub fn of(topology: &Topology) -> Self {
        let mut picture = Picture { boxes: Vec::new(), lines: Vec::new() };
        for node in &topology.nodes {
            let dummies = topology.links.iter().filter(|link| link.far == Far::Nothing && link.near.node == node.name);
            let dummies = dummies.map(|link| format!("dummy {}", link.near.interface));
            picture.boxes.push(Box {
                name: node.name.clone(),
                more: std::iter::once(node.kind.to_string()).chain(dummies).collect(),
                shape: shape(node.kind, node.labels.get(ICON).map(String::as_str)),
                level: node.labels.get(LEVEL).and_then(|level| level.parse().ok()),
            });
        }
        for link in &topology.links {
            let near = (picture.number(&link.near.node, ""), link.near.interface.clone());
            let far = match &link.far {
                Far::Node(end) => (picture.number(&end.node, ""), end.interface.clone()),
                Far::Host(interface) => (picture.number("host", "where it is deployed"), interface.clone()),
                Far::Management(interface) => {
                    (picture.number("mgmt-net", &topology.management.bridge), interface.clone())
                }
                Far::Nothing => continue,
            };
            picture.lines.push(Line { ends: [near, far], shared: false });
        }
        for node in &topology.nodes {
            let other = match &node.network {
                Network::Own | Network::Alone => continue,
                Network::Host => picture.number("host", "where it is deployed"),
                Network::Of(other) => picture.number(other, ""),
            };
            let own = picture.number(&node.name, "");
            picture.lines.push(Line { ends: [(own, String::new()), (other, String::new())], shared: true });
        }
        picture
    }

    /// The box of this name; one that is in no node's is made.
    fn number(&mut self, name: &str, more: &str) -> usize {
        self.boxes.iter().position(|one| one.name == name).unwrap_or_else(|| {
            let more = vec![more.to_string()];
            self.boxes.push(Box { name: name.into(), more, shape: Shape::Outside, level: None });
            self.boxes.len() - 1
        })
    }
}

fn shape(kind: Kind, icon: Option<&str>) -> Shape {
    match (icon, kind) {
        (Some("router" | "firewall" | "spine" | "leaf"), _) => Shape::Router,
        (Some("switch" | "bridge"), _) => Shape::Switch,
        (Some("cloud"), _) => Shape::Outside,
        (Some(_), _) | (None, Kind::Linux) => Shape::Host,
        (None, Kind::Bridge) => Shape::Switch,
    }
}
