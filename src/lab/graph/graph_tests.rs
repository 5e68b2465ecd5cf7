use std::path::Path;

use super::layout::Layout;
use super::picture::Picture;
use super::*;

fn topology(text: &str) -> Topology {
    Topology::parse(Path::new("/x.clab.yml"), text).expect("a topology")
}

const SMALL: &str = "\
name: small
topology:
  defaults: {kind: linux, network-mode: none}
  nodes:
    r1: {labels: {graph-icon: router}}
    h1: {}
    lan: {kind: bridge}
    side: {network-mode: 'container:h1'}
  links:
    - endpoints: ['r1:e<1>', lan:p1]
    - endpoints: [h1:eth1, 'lan:p\"2#']
    - endpoints: [r1:up, host:to-r1]
    - {type: dummy, endpoint: {node: r1, interface: dum0}}
";

#[test]
fn mermaid_says_exactly_this() {
    assert_eq!(
        mermaid(&topology(SMALL)),
        r#"---
title: "small"
---
graph TD
  n0("r1<br/>linux<br/>dummy dum0")
  n1["h1<br/>linux"]
  n2(["lan<br/>bridge"])
  n3["side<br/>linux"]
  n4{{"host<br/>where it is deployed"}}
  n0 ---|"e#60;1#62; - p1"| n2
  n1 ---|"eth1 - p#34;2#35;"| n2
  n0 ---|"up - to-r1"| n4
  n3 -.-|"network of"| n1
"#
    );
}

/// Spines and leaves, each joined with each, several lines between two, and one node with itself.
fn fabric(levels: bool) -> Topology {
    let mut text = String::from("name: fabric\ntopology:\n  defaults: {kind: linux, network-mode: none}\n  nodes:\n");
    for number in 1..=8 {
        let (name, level) = if number <= 3 { ("spine", 1) } else { ("leaf", 5) };
        let label = if levels { format!("labels: {{graph-level: {level}}}") } else { String::new() };
        text += &format!("    {name}{number}: {{{label}}}\n");
    }
    text += "    alone: {}\n  links:\n    - endpoints: [leaf4:loop1, leaf4:loop2]\n";
    for spine in 1..=3 {
        for leaf in 4..=8 {
            text += &format!("    - endpoints: ['spine{spine}:to-leaf{leaf}', 'leaf{leaf}:uplink{spine}']\n");
        }
    }
    text += "    - endpoints: [spine1:more, leaf4:more]\n    - endpoints: [leaf4:peer, leaf8:peer]\n";
    topology(&text)
}

#[test]
fn no_two_boxes_overlap_and_all_are_within_the_picture() {
    for topology in [topology(SMALL), fabric(true), fabric(false)] {
        let layout = Layout::of(Picture::of(&topology));
        for (number, one) in layout.places.iter().enumerate() {
            assert!(one.width > 0 && one.x + one.width <= layout.width && one.y + one.height <= layout.height);
            for two in &layout.places[..number] {
                let apart = one.x + one.width < two.x
                    || two.x + two.width < one.x
                    || one.y + one.height < two.y
                    || two.y + two.height < one.y;
                assert!(apart, "{}: {one:?} {two:?}", topology.name);
            }
        }
    }
}

#[test]
fn no_two_lines_end_at_one_place_and_every_end_is_at_its_box() {
    let layout = Layout::of(Picture::of(&fabric(false)));
    let mut seen = std::collections::BTreeSet::new();
    for (line, ports) in layout.picture.lines.iter().zip(&layout.ports) {
        for ((number, interface), port) in line.ends.iter().zip(ports) {
            assert!(seen.insert((port.x, port.y)), "{interface}");
            let place = layout.places[*number];
            let y = if port.below { place.y + place.height } else { place.y };
            assert!(port.y == y && (place.x..=place.x + place.width).contains(&port.x), "{interface}");
        }
    }
}

#[test]
fn rows_follow_the_labels_or_the_distance() {
    let row = |layout: &Layout, name: &str| {
        let at = layout.picture.boxes.iter().position(|one| one.name == name).expect("a box");
        layout.places[at].y
    };
    let layout = Layout::of(Picture::of(&fabric(true)));
    assert_eq!(row(&layout, "spine1"), row(&layout, "spine3"));
    assert_eq!(row(&layout, "leaf4"), row(&layout, "leaf8"));
    assert!(row(&layout, "spine1") < row(&layout, "leaf4"));
    let layout = Layout::of(Picture::of(&topology(SMALL)));
    let rows = ["lan", "r1", "h1", "host", "side"].map(|name| row(&layout, name));
    assert!(rows[0] < rows[3] || rows[1] < rows[3], "the host is below the node that it is joined with: {rows:?}");
    assert!(rows.iter().collect::<std::collections::BTreeSet<_>>().len() >= 3, "{rows:?}");
}

/// The texts of an SVG, after checking that it is well-formed: every tag is closed in turn, every sign is escaped.
fn texts(svg: &str) -> Vec<String> {
    let mut open: Vec<&str> = Vec::new();
    let mut texts = Vec::new();
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        let text = rest[..at].trim();
        assert!(!text.contains('>'), "{text}");
        for entity in text.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|known| entity.starts_with(known)), "{text}");
        }
        let end = at + rest[at..].find('>').expect("the end of a tag");
        let tag = &rest[at + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
            if name == "text" {
                texts.push(text.to_string());
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    texts
}

#[test]
fn svg_is_well_formed_and_names_every_node_and_interface_once() {
    let svg_small = svg(&topology(SMALL));
    let mut said = texts(&svg_small);
    said.sort();
    let expected = [
        "bridge",
        "dummy dum0",
        "e&lt;1&gt;",
        "eth1",
        "h1",
        "host",
        "lan",
        "linux",
        "linux",
        "linux",
        "p&quot;2#",
        "p1",
        "r1",
        "side",
        "to-r1",
        "up",
        "where it is deployed",
    ];
    assert_eq!(said, expected);
    let topology = fabric(false);
    let said = texts(&svg(&topology));
    let count = |text: &str| said.iter().filter(|one| *one == text).count();
    for node in &topology.nodes {
        assert_eq!(count(&node.name), 1, "{}", node.name);
    }
    for leaf in 4..=8 {
        assert_eq!(count(&format!("to-leaf{leaf}")), 3, "one a spine");
    }
}

#[test]
fn the_same_file_gives_the_same_picture() {
    assert_eq!(svg(&fabric(false)), svg(&fabric(false)));
    assert_ne!(svg(&fabric(false)), svg(&fabric(true)));
}
