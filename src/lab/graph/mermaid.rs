//! A picture as text for Mermaid: boxes, lines, and the interfaces on the lines. Called by [`super`].

use std::fmt::Write;

use super::picture::{Picture, Shape};

pub fn draw(title: &str, picture: &Picture) -> String {
    let mut text = format!("---\ntitle: \"{title}\"\n---\ngraph TD\n");
    // Writing to a String cannot fail.
    for (number, one) in picture.boxes.iter().enumerate() {
        let (open, close) = match one.shape {
            Shape::Host => ("[", "]"),
            Shape::Router => ("(", ")"),
            Shape::Switch => ("([", "])"),
            Shape::Outside => ("{{", "}}"),
        };
        let lines: Vec<String> = std::iter::once(&one.name).chain(&one.more).map(|line| escape(line)).collect();
        let _ = writeln!(text, "  n{number}{open}\"{}\"{close}", lines.join("<br/>"));
    }
    for line in &picture.lines {
        let [(one, left), (two, right)] = &line.ends;
        let _ = match line.shared {
            true => writeln!(text, "  n{one} -.-|\"network of\"| n{two}"),
            false => writeln!(text, "  n{one} ---|\"{} - {}\"| n{two}", escape(left), escape(right)),
        };
    }
    text
}

/// Mermaid's own entities, for what would end a text or begin a tag.
fn escape(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' => safe.push_str(&format!("#{};", u32::from(c))),
            _ => safe.push(c),
        }
    }
    safe
}
