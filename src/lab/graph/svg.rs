//! A picture as SVG: lines below, boxes and texts above. Called by [`super`].

use std::fmt::Write;

use super::layout::{CHARACTER, LINE_HEIGHT, Layout, Port};
use super::picture::Shape;

const STYLE: &str = "text{font:13px monospace;text-anchor:middle;fill:#1b1b1b}.name{font-weight:bold}\
                     .end{font-size:11px;paint-order:stroke;stroke:#fff;stroke-width:4px}\
                     .link{fill:none;stroke:#5b6b7b;stroke-width:1.5}.shared{stroke-dasharray:4 4}\
                     .node{stroke:#33475b;stroke-width:1.5}";

/// How far a line leaves its box straight on.
const BEND: usize = 60;

pub fn draw(title: &str, layout: &Layout) -> String {
    let (width, height) = (layout.width, layout.height);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\">\n<title>{}</title>\n<style>{STYLE}</style>\n<rect width=\"{width}\" height=\"{height}\" \
         fill=\"#fff\"/>\n",
        escape(title)
    );
    // Writing to a String cannot fail.
    for (line, ports) in layout.picture.lines.iter().zip(&layout.ports) {
        let class = if line.shared { "link shared" } else { "link" };
        let _ = writeln!(text, "<path class=\"{class}\" d=\"{}\"/>", path(ports));
    }
    for (one, place) in layout.picture.boxes.iter().zip(&layout.places) {
        let (fill, corner) = match one.shape {
            Shape::Host => ("#eaf2fb", 3),
            Shape::Router => ("#fdf1dc", 6),
            Shape::Switch => ("#e6f4e6", 12),
            Shape::Outside => ("#eeeeee", 3),
        };
        let (x, y, width, height) = (place.x, place.y, place.width, place.height);
        let _ = writeln!(
            text,
            "<rect class=\"node\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{corner}\" \
             fill=\"{fill}\"/>"
        );
        let (middle, first) = (x + width / 2, y + LINE_HEIGHT + CHARACTER / 2);
        let _ = writeln!(text, "<text class=\"name\" x=\"{middle}\" y=\"{first}\">{}</text>", escape(&one.name));
        for (index, more) in one.more.iter().enumerate() {
            let y = first + (index + 1) * LINE_HEIGHT;
            let _ = writeln!(text, "<text x=\"{middle}\" y=\"{y}\">{}</text>", escape(more));
        }
    }
    for (line, ports) in layout.picture.lines.iter().zip(&layout.ports) {
        for ((_, interface), port) in line.ends.iter().zip(ports).filter(|((_, interface), _)| !interface.is_empty()) {
            let y = if port.below { port.y + 14 } else { port.y - 5 };
            let _ = writeln!(text, "<text class=\"end\" x=\"{}\" y=\"{y}\">{}</text>", port.x, escape(interface));
        }
    }
    text.push_str("</svg>\n");
    text
}

/// A line that leaves each box at a right angle.
fn path(ports: &[Port; 2]) -> String {
    let [(x1, y1, c1), (x2, y2, c2)] = ports.map(|port| {
        let bend = if port.below { port.y + BEND } else { port.y.saturating_sub(BEND) };
        (port.x, port.y, bend)
    });
    format!("M{x1} {y1}C{x1} {c1} {x2} {c2} {x2} {y2}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
