//! Taking typed values out of a YAML tree. What is wrong goes to a [`Report`], and reading goes on, so that one pass
//! finds everything. A reader that answers `None` has reported why.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use super::suggest::did_you_mean;
use super::tree::{Key, Mark, Node, Value};
use super::{YamlError, scalar};

/// The errors of one file.
pub struct Report {
    file: String,
    object: RefCell<Option<String>>,
    errors: RefCell<Vec<YamlError>>,
}

impl Report {
    pub fn new(file: &str) -> Report {
        Report { file: file.to_string(), object: RefCell::new(None), errors: RefCell::new(Vec::new()) }
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// Which object the errors from now on belong to.
    pub fn enter(&self, object: Option<String>) {
        *self.object.borrow_mut() = object;
    }

    pub fn add(&self, mark: Mark, field: &str, what: impl Into<String>, mend: Option<String>) {
        self.errors.borrow_mut().push(YamlError {
            file: self.file.clone(),
            line: mark.line,
            column: mark.column,
            object: self.object.borrow().clone(),
            field: field.to_string(),
            what: what.into(),
            mend,
        });
    }

    pub fn count(&self) -> usize {
        self.errors.borrow().len()
    }

    /// All errors, in the order of the file; or the value, if there are none.
    pub fn conclude<T>(self, value: T) -> Result<T, Vec<YamlError>> {
        let mut errors = self.errors.into_inner();
        if errors.is_empty() {
            return Ok(value);
        }
        errors.sort_by_key(|error| (error.line, error.column));
        Err(errors)
    }
}

/// A node of the tree with its path from the top of the object.
#[derive(Clone)]
pub struct At<'t> {
    report: &'t Report,
    node: &'t Node,
    path: String,
    /// Where errors about it point: a value's own place, a collection's key.
    mark: Mark,
}

impl<'t> At<'t> {
    pub fn root(report: &'t Report, node: &'t Node) -> At<'t> {
        At { report, node, path: String::new(), mark: node.mark }
    }

    pub fn report(&self) -> &'t Report {
        self.report
    }

    pub fn line(&self) -> usize {
        self.mark.line
    }

    pub fn is_null(&self) -> bool {
        self.node.is_null()
    }

    /// The same place, reported under another path: a nested object's own fields begin at its own top.
    pub fn as_root(&self) -> At<'t> {
        At::root(self.report, self.node)
    }

    pub fn fail<T>(&self, what: impl Into<String>, mend: Option<String>) -> Option<T> {
        self.report.add(self.mark, &self.path, what, mend);
        None
    }

    fn expected<T>(&self, expectation: &str, mend: Option<String>) -> Option<T> {
        self.fail(format!("expected {expectation}, found {}", self.found()), mend)
    }

    /// What stands here, in words.
    fn found(&self) -> String {
        match &self.node.value {
            _ if self.node.is_null() => "nothing".to_string(),
            Value::List(_) => "a list".to_string(),
            Value::Map(_) => "a mapping".to_string(),
            Value::Scalar { text, plain } => scalar::describe(text, *plain),
        }
    }

    /// A scalar's text, however it is written: for what is parsed from text anyway.
    pub fn word(&self, expectation: &str) -> Option<&'t str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => self.expected(expectation, None),
        }
    }

    /// Text; a number, a truth value or nothing is refused unless quoted.
    pub fn text(&self) -> Option<&'t str> {
        match &self.node.value {
            Value::Scalar { text, plain } if !plain || !scalar::is_typed(text) => Some(text),
            Value::Scalar { text, .. } => self.expected("text", Some(format!("quote it: \"{text}\""))),
            _ => self.expected("text", None),
        }
    }

    /// Text that is a path.
    pub fn path(&self) -> Option<PathBuf> {
        match self.text()? {
            "" => self.fail("expected a path, found an empty text", None),
            text => Some(PathBuf::from(text)),
        }
    }

    /// What a scalar says, whatever it is to be.
    pub fn plain(&self) -> Option<&'t str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub fn boolean(&self) -> Option<bool> {
        let Value::Scalar { text, plain } = &self.node.value else { return self.expected("true or false", None) };
        if *plain && let Some(value) = scalar::boolean(text) {
            return Some(value);
        }
        let mend = match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some("write true".to_string()),
            "false" | "no" | "off" => Some("write false".to_string()),
            _ => None,
        };
        self.expected("true or false", mend)
    }

    /// A whole number from `first` to `last`, both included.
    pub fn integer(&self, first: u64, last: u64) -> Option<u64> {
        let Value::Scalar { text, plain } = &self.node.value else { return self.expected("a whole number", None) };
        let Some(value) = scalar::integer(text) else { return self.expected("a whole number", None) };
        if !plain {
            return self.expected("a whole number", Some("remove the quotes".to_string()));
        }
        match u64::try_from(value) {
            Ok(value) if (first..=last).contains(&value) => Some(value),
            _ => self.fail(format!("expected a number from {first} to {last}, found {value}"), None),
        }
    }

    pub fn number(&self) -> Option<f64> {
        let Value::Scalar { text, plain: true } = &self.node.value else { return self.expected("a number", None) };
        match scalar::number(text) {
            Some(value) => Some(value),
            None => self.expected("a number", None),
        }
    }

    /// What `parse` makes of a scalar's text; its error is shown as it is.
    pub fn parse<T, E: Display>(&self, expectation: &str, parse: impl FnOnce(&'t str) -> Result<T, E>) -> Option<T> {
        match parse(self.word(expectation)?) {
            Ok(value) => Some(value),
            Err(error) => self.fail(error.to_string(), None),
        }
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, what: &str, words: &[(&'static str, T)]) -> Option<T> {
        let names = || words.iter().map(|(name, _)| *name);
        let word = self.word(&listed(names(), "or"))?;
        match words.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => Some(*value),
            None => self.fail(
                format!("unknown {what} \"{word}\"; expected {}", listed(names(), "or")),
                did_you_mean(word, names()),
            ),
        }
    }

    pub fn is_mapping(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub fn list(&self) -> Option<Vec<At<'t>>> {
        let Value::List(items) = &self.node.value else {
            return self.expected(
                "a list",
                matches!(self.node.value, Value::Scalar { .. })
                    .then(|| "write `- VALUE` on a line of its own, or [VALUE]".to_string()),
            );
        };
        let at = |(index, node): (usize, &'t Node)| At {
            report: self.report,
            node,
            path: format!("{}[{index}]", self.path),
            mark: node.mark,
        };
        Some(items.iter().enumerate().map(at).collect())
    }

    /// Each item of a list by `read`; what it refuses is left out (and reported).
    pub fn each<T>(&self, read: impl FnMut(At<'t>) -> Option<T>) -> Vec<T> {
        self.list().unwrap_or_default().into_iter().filter_map(read).collect()
    }

    /// All items of a list by `read`; `None` where it refused any.
    pub fn all<T>(&self, read: impl FnMut(At<'t>) -> Option<T>) -> Option<Vec<T>> {
        let items = self.list()?.into_iter().map(read).collect::<Vec<Option<T>>>();
        items.into_iter().collect()
    }

    /// The entries of a mapping, once each key was seen to be there only once.
    pub fn entries(&self) -> Option<Vec<(&'t Key, At<'t>)>> {
        let Value::Map(pairs) = &self.node.value else { return self.expected("a mapping", None) };
        let mut entries: Vec<(&Key, At<'_>)> = Vec::with_capacity(pairs.len());
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, node) in pairs {
            let path = self.join(&key.text);
            if let Some(first) = seen.insert(&key.text, key.mark.line) {
                let what = format!("written twice: first on line {first}");
                self.report.add(key.mark, &path, what, Some("remove one of them".to_string()));
                continue;
            }
            let in_place = matches!(&node.value, Value::Scalar { .. }) && !node.is_null();
            let mark = if in_place { node.mark } else { key.mark };
            entries.push((key, At { report: self.report, node, path, mark }));
        }
        Some(entries)
    }

    pub fn fields(&self) -> Option<Fields<'t>> {
        Some(Fields { at: self.clone(), left: self.entries()?, known: Vec::new() })
    }

    /// An error about a field of this mapping, where the mapping stands.
    pub fn fail_in<T>(&self, field: &str, what: impl Into<String>, mend: Option<String>) -> Option<T> {
        self.report.add(self.mark, &self.join(field), what, mend);
        None
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }
}

/// A mapping that is being read: fields are taken by name, and what is left at the end is unknown.
pub struct Fields<'t> {
    at: At<'t>,
    left: Vec<(&'t Key, At<'t>)>,
    known: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// The field, unless it is absent or null.
    pub fn take(&mut self, name: &'static str) -> Option<At<'t>> {
        self.known.push(name);
        let index = self.left.iter().position(|(key, _)| key.text == name)?;
        let (_, at) = self.left.remove(index);
        (!at.is_null()).then_some(at)
    }

    /// The field; its absence is reported.
    pub fn required(&mut self, name: &'static str, expectation: &str) -> Option<At<'t>> {
        let found = self.take(name);
        if found.is_none() {
            self.at.fail_in::<()>(name, format!("missing: expected {expectation}"), None);
        }
        found
    }

    /// A field that has no meaning here and may stand: what servers fill in.
    pub fn ignore(&mut self, names: &[&'static str]) {
        for name in names {
            self.left.retain(|(key, _)| key.text != *name);
        }
    }

    /// A field that is known and not built: refused by name, unless it says what holds without it.
    pub fn not_built(&mut self, name: &'static str, harmless: &[&str]) {
        let Some(index) = self.left.iter().position(|(key, _)| key.text == name) else { return };
        let (key, at) = self.left.remove(index);
        let stands = match &at.node.value {
            Value::Scalar { text, .. } => at.is_null() || text.is_empty() || harmless.contains(&text.as_str()),
            Value::List(items) => items
                .iter()
                .all(|item| matches!(&item.value, Value::Scalar { text, .. } if harmless.contains(&text.as_str()))),
            Value::Map(pairs) => pairs.is_empty(),
        };
        if !stands {
            let mend = match harmless {
                [] => "remove it".to_string(),
                words => format!("remove it, or write {}", listed(words.iter().copied(), "or")),
            };
            self.at.report.add(key.mark, &at.path, "not built yet", Some(mend));
        }
    }

    pub fn at(&self) -> &At<'t> {
        &self.at
    }

    /// Reports what nobody took.
    pub fn finish(self) {
        for (key, at) in &self.left {
            let mend = did_you_mean(&key.text, self.known.iter().copied())
                .unwrap_or_else(|| format!("remove it; known here: {}", self.known.join(", ")));
            self.at.report.add(key.mark, &at.path, "unknown field", Some(mend));
        }
    }
}

/// A field by [`Fields::take`] and a reader. Absent: `Some(None)`; present and wrong (reported): `None`.
pub fn optional<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

/// `a, b or c`.
pub fn listed<'a>(words: impl Iterator<Item = &'a str>, last: &str) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((end, [])) => (*end).to_string(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
        None => String::new(),
    }
}
