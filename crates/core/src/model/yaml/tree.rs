//! YAML text to a tree whose every node knows its line and column.
//!
//! The event parser gives sound marks for values, which `serde_yaml` loses. What it does not bound is bounded here:
//! depth, and the size that aliases can blow a small text up to.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Deeper nesting than any object has; keeps recursion over the tree from running out of stack.
const DEPTH_LIMIT: usize = 64;
/// Nodes of one file, aliases written out: a policy of 10 000 rules has about 200 000.
const NODE_LIMIT: usize = 1_000_000;

/// A place in the text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
}

impl Mark {
    fn of(span: &Span) -> Mark {
        Mark { line: span.start.line().max(1), column: span.start.col() + 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub mark: Mark,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `plain`: not quoted, so that it may be a number, a truth value or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub mark: Mark,
    pub text: String,
}

impl Node {
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(pairs) => pairs.iter().map(|(_, node)| 1 + node.count()).sum(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(pairs) => pairs.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
        }
    }
}

/// Where the text stops being YAML that we take, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub mark: Mark,
    pub what: String,
}

/// The documents of a text, empty ones left out; and the error after which nothing more could be read, if any.
pub fn parse(text: &str) -> (Vec<Node>, Option<SyntaxError>) {
    let mut builder = Builder::default();
    // A byte order mark is no part of the first key.
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let step = match event {
            Ok((event, span)) => builder.take(event, Mark::of(&span)),
            Err(error) => Err(SyntaxError {
                mark: Mark { line: error.marker().line().max(1), column: error.marker().col() + 1 },
                what: format!("not valid YAML: {}", error.info()),
            }),
        };
        if let Err(error) = step {
            return (builder.documents, Some(error));
        }
    }
    (builder.documents, None)
}

/// A collection whose end has not come yet.
struct Open {
    mark: Mark,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { pairs: Vec<(Key, Node)>, key: Option<Key> },
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), SyntaxError> {
        let refuse = |what: &str| Err(SyntaxError { mark, what: what.to_string() });
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = match tag.as_deref() {
                    None => style == ScalarStyle::Plain,
                    Some(tag) if is_core(tag, "str") => false,
                    Some(_) => return refuse("YAML tags are not taken: write the value without its `!` tag"),
                };
                let node = Node { mark, value: Value::Scalar { text: text.into_owned(), plain } };
                self.count(1, mark)?;
                self.close(node, anchor)
            }
            Event::SequenceStart(anchor, tag) if tag.as_deref().is_none_or(|tag| is_core(tag, "seq")) => {
                self.begin(Open { mark, anchor, kind: OpenKind::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) if tag.as_deref().is_none_or(|tag| is_core(tag, "map")) => {
                self.begin(Open { mark, anchor, kind: OpenKind::Map { pairs: Vec::new(), key: None } })
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                refuse("YAML tags are not taken: write the value without its `!` tag")
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return refuse("not valid YAML: an end without a beginning") };
                let value = match open.kind {
                    OpenKind::List(items) => Value::List(items),
                    OpenKind::Map { pairs, .. } => Value::Map(pairs),
                };
                self.close(Node { mark: open.mark, value }, open.anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return refuse("this alias (`*name`) lies inside of what it stands for: write the value out");
                };
                if self.open.len() + node.depth() > DEPTH_LIMIT {
                    return refuse("nested too deeply");
                }
                self.count(node.count(), mark)?;
                self.close(node, 0)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, mark: Mark) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODE_LIMIT {
            return Err(SyntaxError { mark, what: format!("more than {NODE_LIMIT} values in one file: split it") });
        }
        Ok(())
    }

    fn begin(&mut self, open: Open) -> Result<(), SyntaxError> {
        if self.open.len() >= DEPTH_LIMIT {
            return Err(SyntaxError { mark: open.mark, what: "nested too deeply".to_string() });
        }
        self.count(1, open.mark)?;
        self.open.push(open);
        Ok(())
    }

    /// Puts a finished node where it belongs: into the collection around it, or among the documents.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None if node.is_null() => {}
            None => self.documents.push(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { pairs, key }) => match (key.take(), node) {
                (Some(key), node) => pairs.push((key, node)),
                (None, Node { mark, value: Value::Scalar { text, .. } }) => *key = Some(Key { mark, text }),
                (None, Node { mark, .. }) => {
                    let what = "a key must be plain text, not a list or mapping".to_string();
                    return Err(SyntaxError { mark, what });
                }
            },
        }
        Ok(())
    }
}

fn is_core(tag: &Tag, name: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == name
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
