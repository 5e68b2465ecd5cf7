//! Pictures of a topology, drawn from the file alone. Called by `routectl lab graph`.
//!
//! The same file gives the same picture, to the byte, so that pictures can be kept beside it.

mod layout;
mod mermaid;
mod picture;
mod svg;

use super::topology::Topology;

/// Text for Mermaid.
pub fn mermaid(topology: &Topology) -> String {
    mermaid::draw(&topology.name, &picture::Picture::of(topology))
}

/// An SVG picture.
pub fn svg(topology: &Topology) -> String {
    svg::draw(&topology.name, &layout::Layout::of(picture::Picture::of(topology)))
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
