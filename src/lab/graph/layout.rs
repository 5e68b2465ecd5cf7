//! Where everything in a picture goes: boxes in rows by distance, lines from port to port. Called by [`super`].
//!
//! A box is as wide as its text, and as the interfaces on each of its sides in a row: so these never overlap.

use std::collections::{BTreeMap, BTreeSet};

use super::picture::{Line, Picture};

/// All lengths are in pixels.
pub const CHARACTER: usize = 8;
pub const LINE_HEIGHT: usize = 18;
const MARGIN: usize = 24;
const BESIDE: usize = 40;
const BELOW: usize = 110;
const PADDING: usize = 16;

pub struct Layout {
    pub picture: Picture,
    pub width: usize,
    pub height: usize,
    /// One a box.
    pub places: Vec<Place>,
    /// Where each line begins and ends.
    pub ports: Vec<[Port; 2]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    pub x: usize,
    pub y: usize,
    /// At the lower side of its box.
    pub below: bool,
}

impl Layout {
    pub fn of(picture: Picture) -> Self {
        let rows = order(&picture, &rows(&picture));
        let row_of: BTreeMap<usize, usize> =
            rows.iter().enumerate().flat_map(|(row, boxes)| boxes.iter().map(move |one| (*one, row))).collect();
        let below = |line: &Line, end: usize| row_of[&line.ends[end].0] <= row_of[&line.ends[1 - end].0];

        let mut places = vec![Place::default(); picture.boxes.len()];
        for (number, place) in places.iter_mut().enumerate() {
            let one = &picture.boxes[number];
            let longest = std::iter::once(&one.name).chain(&one.more).map(|text| text.chars().count()).max();
            let side = |lower: bool| -> usize {
                ends(&picture)
                    .filter(|(line, end)| line.ends[*end].0 == number && below(line, *end) == lower)
                    .map(|(line, end)| slot(&line.ends[end].1))
                    .sum()
            };
            let text = longest.unwrap_or(0) * CHARACTER + 2 * PADDING;
            place.width = text.max(side(true)).max(side(false));
            place.height = (1 + one.more.len()) * LINE_HEIGHT + PADDING;
        }

        let row_width = |row: &Vec<usize>| -> usize {
            row.iter().map(|one| places[*one].width).sum::<usize>() + BESIDE * row.len().saturating_sub(1)
        };
        let widest = rows.iter().map(row_width).max().unwrap_or(0);
        let lefts: Vec<usize> = rows.iter().map(|row| MARGIN + (widest - row_width(row)) / 2).collect();
        let mut y = MARGIN;
        for (row, left) in rows.iter().zip(lefts) {
            let mut x = left;
            for one in row {
                (places[*one].x, places[*one].y) = (x, y);
                x += places[*one].width + BESIDE;
            }
            y += row.iter().map(|one| places[*one].height).max().unwrap_or(0) + BELOW;
        }
        let ports = ports(&picture, &places, below);
        Layout { picture, width: widest + 2 * MARGIN, height: y - BELOW + 2 * MARGIN, places, ports }
    }
}

/// Every end of every line.
fn ends(picture: &Picture) -> impl Iterator<Item = (&Line, usize)> {
    picture.lines.iter().flat_map(|line| [(line, 0), (line, 1)])
}

/// How much of a side an interface takes.
fn slot(interface: &str) -> usize {
    (interface.chars().count().max(1) + 2) * CHARACTER
}

/// The row of each box: the one that is asked for, or one below the nearest neighbour that has one. Where nobody asks,
/// the box with the most lines is on top.
fn rows(picture: &Picture) -> Vec<i64> {
    let count = picture.boxes.len();
    let mut neighbours = vec![BTreeSet::new(); count];
    for line in &picture.lines {
        let [(one, _), (two, _)] = line.ends;
        neighbours[one].insert(two);
        neighbours[two].insert(one);
    }
    let mut found: Vec<Option<i64>> = picture.boxes.iter().map(|one| one.level).collect();
    let top = found.iter().flatten().min().copied().unwrap_or(0);
    loop {
        // The unplaced box that comes highest, next to a placed one; or the best connected of those that are left.
        let next = (0..count)
            .filter(|one| found[*one].is_none())
            .filter_map(|one| neighbours[one].iter().filter_map(|other| found[*other]).min().map(|row| (row + 1, one)))
            .min();
        let next = next.or_else(|| {
            let left = (0..count).filter(|one| found[*one].is_none());
            left.max_by_key(|one| (neighbours[*one].len(), count - one)).map(|one| (top, one))
        });
        match next {
            Some((row, one)) => found[one] = Some(row),
            None => return found.into_iter().flatten().collect(),
        }
    }
}

/// The boxes of each row from left to right: near what they are joined with in the row above, else as in the file.
fn order(picture: &Picture, row_of: &[i64]) -> Vec<Vec<usize>> {
    let levels: BTreeSet<i64> = row_of.iter().copied().collect();
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // From 0 (left) to 1000 (right).
    let mut across: BTreeMap<usize, usize> = BTreeMap::new();
    for level in levels {
        let mut row: Vec<usize> = (0..row_of.len()).filter(|one| row_of[*one] == level).collect();
        let wish = |one: &usize| {
            let above: Vec<usize> = ends(picture)
                .filter(|(line, end)| line.ends[*end].0 == *one)
                .filter_map(|(line, end)| across.get(&line.ends[1 - end].0).copied())
                .collect();
            above.iter().sum::<usize>().checked_div(above.len()).unwrap_or(500)
        };
        row.sort_by_key(|one| (wish(one), *one));
        let places: Vec<(usize, usize)> =
            row.iter().enumerate().map(|(at, one)| (*one, (2 * at + 1) * 1000 / (2 * row.len()))).collect();
        across.extend(places);
        rows.push(row);
    }
    rows
}

/// The ends at each side of a box, in the order of where they lead to, so that lines cross as little as may be.
fn ports(picture: &Picture, places: &[Place], below: impl Fn(&Line, usize) -> bool) -> Vec<[Port; 2]> {
    let mut ports = vec![[Port::default(); 2]; picture.lines.len()];
    for (number, place) in places.iter().enumerate() {
        for lower in [false, true] {
            let mut side: Vec<(usize, usize)> = (0..picture.lines.len())
                .flat_map(|line| [(line, 0), (line, 1)])
                .filter(|(line, end)| {
                    let line = &picture.lines[*line];
                    line.ends[*end].0 == number && below(line, *end) == lower
                })
                .collect();
            side.sort_by_key(|(line, end)| {
                let other = &places[picture.lines[*line].ends[1 - end].0];
                (other.x + other.width / 2, *line, *end)
            });
            let taken: usize = side.iter().map(|(line, end)| slot(&picture.lines[*line].ends[*end].1)).sum();
            let mut x = place.x + (place.width - taken) / 2;
            for (line, end) in side {
                let width = slot(&picture.lines[line].ends[end].1);
                let y = if lower { place.y + place.height } else { place.y };
                ports[line][end] = Port { x: x + width / 2, y, below: lower };
                x += width;
            }
        }
    }
    ports
}
