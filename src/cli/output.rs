//! How answers look: tables, durations, colours, JSON and YAML.

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

/// How to print a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line each, what matters most
    #[default]
    Table,
    /// A line each, everything that fits
    Wide,
    /// For programs
    Json,
    /// For people and files: `apply` takes it again
    Yaml,
}

impl Format {
    /// The value as JSON or YAML; `None` for the tables.
    pub fn data(self, value: &impl Serialize) -> Option<String> {
        match self {
            Format::Table | Format::Wide => None,
            Format::Json => {
                let text = serde_json::to_string_pretty(value).expect("listings are plain data with text keys");
                Some(text + "\n")
            }
            Format::Yaml => Some(serde_yaml::to_string(value).expect("listings are plain data with text keys")),
        }
    }

    pub fn is_wide(self) -> bool {
        self == Format::Wide
    }
}

/// Rows under headings, two spaces apart; `nothing` where there are no rows.
pub fn table<H: ToString>(headings: &[H], rows: Vec<Vec<String>>, nothing: &str) -> String {
    if rows.is_empty() {
        return format!("{nothing}\n");
    }
    let mut table = Table::new();
    // Colours are ours to add, and columns are never broken to the width of a terminal: `| grep` reads them too.
    table.load_preset(presets::NOTHING).force_no_tty();
    table.set_header(headings.iter().map(ToString::to_string));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// Colours, on terminals only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub colour: bool,
}

impl Style {
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// A duration of whole seconds as people say it: its two largest units.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, 1..=9) => with(minutes, "min", seconds % 60, "s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => with(hours, "h", minutes % 60, "min"),
        (_, _, _) => with(days, "d", hours % 24, "h"),
    }
}

fn with(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// `1 endpoint`, `2 endpoints`.
pub fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// The values with commas, `-` where there are none.
pub fn joined<T: ToString>(values: &[T]) -> String {
    match values {
        [] => "-".to_string(),
        values => values.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}

pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.to_string())
}

/// Of a neighbour that may have any other than ours, absent until it has said which.
pub fn as_word(number: Option<u32>) -> String {
    number.map_or("external".to_string(), |number| number.to_string())
}

pub fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_string()
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
