//! Tables of the file, read key by key: unknown keys, missing keys and wrong values become findings, not an end.
//!
//! Decides: how a key's trouble is said. Reads: the parser's spanned tables. Writes: findings.
//! Never: stops at the first error.

use super::diagnostic::Findings;
use super::value::{Bad, cut, nearest, shown};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table of the file, with the keys that it may hold.
#[derive(Debug)]
pub(crate) struct Table<'t> {
    map: &'t DeTable<'t>,
    /// As errors call it: `[[tunnel]]`.
    name: &'static str,
    pub(crate) line: u32,
}

impl<'t> Table<'t> {
    /// The table in `value`; every key that is not in `keys` is an error.
    pub(crate) fn open(
        value: &'t Spanned<DeValue<'t>>,
        name: &'static str,
        keys: &[&str],
        findings: &mut Findings,
    ) -> Option<Self> {
        let line = findings.line(value.span().start);
        let DeValue::Table(map) = value.get_ref() else {
            let found = format!("{name} is {}", shown(value.get_ref()));
            findings.error(
                line,
                found,
                "a table of keys",
                format!("write a line {name}, and its keys below"),
            );
            return None;
        };
        let table = Self { map, name, line };
        table.refuse_unknown(keys, findings);
        Some(table)
    }

    /// The whole file.
    pub(crate) fn root(map: &'t DeTable<'t>, keys: &[&str], findings: &mut Findings) -> Self {
        let table = Self { map, name: "the file", line: 1 };
        table.refuse_unknown(keys, findings);
        table
    }

    fn refuse_unknown(&self, keys: &[&str], findings: &mut Findings) {
        for key in self.map.keys().filter(|key| !keys.contains(&key.get_ref().as_ref())) {
            let given: &str = key.get_ref();
            let cure = nearest(given, keys).map(|known| format!("did you mean `{known}`?"));
            findings.error(
                findings.line(key.span().start),
                format!("unknown key `{}` in {}", cut(given), self.name),
                format!("one of {}", keys.join(", ")),
                cure.unwrap_or_else(|| "remove it, or move it to the section it belongs to".to_owned()),
            );
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.map.get(key)
    }

    /// Line of a key's value, or of the table while the key is not there.
    pub(crate) fn line_of(&self, key: &str, findings: &Findings) -> u32 {
        self.get(key).map_or(self.line, |value| findings.line(value.span().start))
    }

    /// The key's value, `None` when it is absent or wrong (which then is a finding).
    pub(crate) fn optional<T>(
        &self,
        key: &str,
        findings: &mut Findings,
        parse: impl FnOnce(&'t DeValue<'t>) -> Result<T, Bad>,
    ) -> Option<T> {
        let value = self.get(key)?;
        match parse(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(bad) => {
                report(findings, findings.line(value.span().start), key, bad);
                None
            }
        }
    }

    /// The key's value, or the default. A wrong value is a finding, so that the default then harms nobody.
    pub(crate) fn or<T>(
        &self,
        key: &str,
        default: T,
        findings: &mut Findings,
        parse: impl FnOnce(&'t DeValue<'t>) -> Result<T, Bad>,
    ) -> T {
        self.optional(key, findings, parse).unwrap_or(default)
    }

    /// A key that must be there.
    pub(crate) fn required<T>(
        &self,
        key: &str,
        what: &str,
        example: &str,
        findings: &mut Findings,
        parse: impl FnOnce(&'t DeValue<'t>) -> Result<T, Bad>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            let found = format!("`{key}` is missing in {}", self.name);
            findings.error(self.line, found, what, format!("add {key} = {example}"));
        }
        self.optional(key, findings, parse)
    }

    /// Every element of a key's array, each wrong one a finding at its own line; `None` when the key is absent.
    pub(crate) fn list<T>(
        &self,
        key: &str,
        example: &str,
        max: usize,
        findings: &mut Findings,
        mut parse: impl FnMut(&'t Spanned<DeValue<'t>>, u32, &mut Findings) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.get(key)?;
        let line = findings.line(value.span().start);
        let cure = format!("write {key} = {example}");
        let DeValue::Array(elements) = value.get_ref() else {
            findings.error(line, format!("`{key}`: {}", shown(value.get_ref())), "a list in brackets", cure);
            return Some(Vec::new());
        };
        if elements.is_empty() || elements.len() > max {
            let found = format!("`{key}`: a list of {}", elements.len());
            findings.error(line, found, format!("1 to {max} elements"), cure);
            return Some(Vec::new());
        }
        let parsed = elements.iter().filter_map(|element| {
            let line = findings.line(element.span().start);
            parse(element, line, findings)
        });
        Some(parsed.collect())
    }
}

pub(crate) fn report(findings: &mut Findings, line: u32, key: &str, bad: Bad) {
    findings.error(line, format!("`{key}`: {}", bad.found), bad.expected, bad.cure);
}

/// The tables of an array of tables (`[[name]]`).
pub(crate) fn tables<'t>(
    root: &Table<'t>,
    key: &str,
    name: &'static str,
    max: usize,
    keys: &[&str],
    findings: &mut Findings,
) -> Vec<Table<'t>> {
    let Some(value) = root.get(key) else { return Vec::new() };
    let line = findings.line(value.span().start);
    let DeValue::Array(elements) = value.get_ref() else {
        let found = format!("[{key}] with single brackets");
        findings.error(line, found, format!("{name}, once for each"), format!("write {name}"));
        return Vec::new();
    };
    if elements.len() > max {
        let found = format!("{} times {name}", elements.len());
        findings.error(line, found, format!("at most {max}"), "use fewer");
        return Vec::new();
    }
    elements.iter().filter_map(|element| Table::open(element, name, keys, findings)).collect()
}
