//! What a topology file leaves open. Variables of the environment are replaced in its text before YAML is read, for
//! `source`; containerlab's own `__clab...__` when the lab is deployed, for `deploy`.

use std::path::Path;

/// The value of a variable of the caller's environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment.
pub fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable that cannot be replaced.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub line: usize,
    pub what: String,
}

/// Replaces every variable outside of comments.
pub fn replace(text: &str, environment: Environment) -> Result<String, Refusal> {
    line_by_line(text, |line, code| expand(code, environment).map_err(|what| Refusal { line, what }))
}

/// The same, but lines with a variable that is not set stay as they are: for a file of which only a part is wanted.
pub fn replace_known(text: &str, environment: Environment) -> String {
    let kept = line_by_line(text, |_, code| {
        Ok::<_, std::convert::Infallible>(expand(code, environment).unwrap_or(code.into()))
    });
    kept.unwrap_or_else(|never| match never {})
}

/// `work` on what YAML reads of each line; comments are copied.
fn line_by_line<E>(text: &str, work: impl Fn(usize, &str) -> Result<String, E>) -> Result<String, E> {
    let mut scanner = Scanner::default();
    let mut all = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (code, comment) = line.split_at(scanner.code(line));
        all.push_str(&work(index + 1, code)?);
        all.push_str(comment);
    }
    Ok(all)
}

fn expand(text: &str, environment: Environment) -> Result<String, String> {
    let mut all = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        all.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let name = name_of(after);
        let read = if after.starts_with('$') {
            all.push('$');
            1
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner)
                .ok_or_else(|| format!("`${after}`: the brace is not closed in its line").replace('\n', ""))?;
            all.push_str(&braced(&inner[..end], environment)?);
            end + 2
        } else if name.is_empty() {
            all.push('$');
            0
        } else {
            all.push_str(&set(name, environment)?);
            name.len()
        };
        rest = &after[read..];
    }
    all.push_str(rest);
    Ok(all)
}

/// What stands between `${` and `}`.
fn braced(inner: &str, environment: Environment) -> Result<String, String> {
    let name = name_of(inner);
    let operator = &inner[name.len()..];
    let unknown = || {
        let known = "`${V}`, `${V:=x}`, `${V:-x}`, `${V=x}`, `${V-x}`, `${V:+x}` and `${V+x}` are known";
        Err(format!("`${{{inner}}}`: {known}; `$$` is a `$`"))
    };
    if name.is_empty() {
        return unknown();
    }
    if operator.is_empty() {
        return set(name, environment);
    }
    let also_empty = operator.starts_with(':');
    let mut form = operator.trim_start_matches(':').chars();
    let value = environment(name);
    match form.next() {
        Some('=' | '-') => match value {
            Some(value) if !(also_empty && value.is_empty()) => Ok(value),
            _ => expand(form.as_str(), environment),
        },
        // containerlab does not look for emptiness here, with or without the colon.
        Some('+') => value.map_or(Ok(String::new()), |_| expand(form.as_str(), environment)),
        _ => unknown(),
    }
}

fn set(name: &str, environment: Environment) -> Result<String, String> {
    environment(name).ok_or_else(|| {
        format!("the variable `{name}` is not set; set it, or write `${{{name}:=default}}`, or `$${name}` for that very text")
    })
}

/// The name at the beginning of `text`. What begins with a digit is none: `$1` is awk's, and a shell's.
fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| !(c == '_' || c.is_ascii_alphanumeric())).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

/// Where the brace that was opened before `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Tells YAML's comments from a `#` in a text: in quotes, which may span lines, and in blocks (`|`, `>`).
#[derive(Default)]
struct Scanner {
    quote: Option<char>,
    /// The indentation of whom the block belongs to.
    block: Option<usize>,
}

impl Scanner {
    /// How much of the next line is no comment.
    fn code(&mut self, line: &str) -> usize {
        let blanks = line.len() - line.trim_start_matches(' ').len();
        if let Some(owner) = self.block {
            if line.trim().is_empty() || blanks > owner {
                return line.len();
            }
            self.block = None;
        }
        let end = self.comment(line).unwrap_or(line.len());
        if self.quote.is_none() {
            self.block = block_owner(&line[..end], blanks);
        }
        end
    }

    fn comment(&mut self, line: &str) -> Option<usize> {
        let mut before = None;
        let mut blank = true;
        let mut chars = line.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match self.quote {
                Some('"') if c == '\\' => drop(chars.next()),
                Some('\'') if c == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') => drop(chars.next()),
                Some(quote) if c == quote => self.quote = None,
                Some(_) => {}
                None if c == '#' && blank => return Some(at),
                None if c == '"' || c == '\'' => {
                    let opens = match before {
                        None | Some('[' | '{' | ',') => true,
                        Some(':' | '-') => blank,
                        Some(_) => false,
                    };
                    self.quote = opens.then_some(c);
                }
                None => {}
            }
            blank = c.is_whitespace();
            before = if blank { before } else { Some(c) };
        }
        None
    }
}

/// If a block begins at this line's end: the column that its lines are indented beyond.
fn block_owner(code: &str, blanks: usize) -> Option<usize> {
    let code = code.trim_end();
    let (rest, sign) = code.rsplit_once(' ').unwrap_or(("", code));
    let signs = sign.starts_with(['|', '>']) && sign[1..].chars().all(|c| "+-".contains(c) || c.is_ascii_digit());
    if !signs || !rest.trim_end().ends_with([':', '-']) {
        return None;
    }
    let mut owner = blanks;
    while let Some(item) = code[owner..].strip_prefix("- ") {
        let column = code.len() - item.trim_start().len();
        if item.trim_start() == sign {
            break;
        }
        owner = column;
    }
    Some(owner)
}

/// containerlab's own variables, for one node.
pub struct Magic<'a> {
    pub lab: &'a str,
    pub node: &'a str,
    /// The directory that the lab's nodes share; a node's own is in it, under its name.
    pub shared: &'a Path,
}

impl Magic<'_> {
    pub fn expand(&self, text: &str) -> String {
        text.replace("__clabNodeDir__", &self.shared.join(self.node).display().to_string())
            .replace("__clabDir__", &self.shared.display().to_string())
            .replace("__clabNodeName__", self.node)
            .replace("__clabLabName__", self.lab)
    }

    pub fn expand_all(&self, words: &[String]) -> Vec<String> {
        words.iter().map(|word| self.expand(word)).collect()
    }
}

#[cfg(test)]
#[path = "variables_tests.rs"]
mod tests;
