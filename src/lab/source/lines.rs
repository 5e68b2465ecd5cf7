//! Where in a topology file something is written: YAML's own positions are gone once it is read. Asked by
//! [`super::super::topology`] when it refuses.

/// The line of `needle`'s first appearance.
pub fn of(text: &str, needle: &str) -> Option<usize> {
    text.lines().position(|line| line.contains(needle)).map(|index| index + 1)
}

/// The line of a node's own definition.
pub fn of_node(text: &str, name: &str) -> Option<usize> {
    let nodes = text.lines().position(|line| line.trim() == "nodes:")?;
    let found = text.lines().skip(nodes + 1).position(|line| {
        let key = line.trim().split(':').next().unwrap_or("").trim_matches(|c| c == '"' || c == '\'');
        key == name
    })?;
    Some(nodes + found + 2)
}

/// The line of `needle` in a node's own definition; the definition's line when it is inherited.
pub fn within_node(text: &str, name: &str, needle: &str) -> Option<usize> {
    let start = of_node(text, name)?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let own = text.lines().nth(start - 1).map_or(0, indent);
    let below = text.lines().skip(start).take_while(|line| line.trim().is_empty() || indent(line) > own);
    let found = below.enumerate().find(|(_, line)| line.contains(needle)).map(|(index, _)| start + index + 1);
    found.or(Some(start))
}

/// The line at which a link begins; that of `links:` where they are not written one an item.
pub fn of_link(text: &str, number: usize) -> Option<usize> {
    let start = text.lines().position(|line| line.trim() == "links:")?;
    let mut items = None;
    let mut seen = 0;
    for (index, line) in text.lines().enumerate().skip(start + 1) {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.starts_with('-') && *items.get_or_insert(indent) == indent {
            if seen == number {
                return Some(index + 1);
            }
            seen += 1;
        }
    }
    Some(start + 1)
}
