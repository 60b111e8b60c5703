//! Findings about a file: each with its place, what was found, what was expected, and the cure.
//!
//! Decides: how an error reads. Reads: byte offsets of the parser. Writes: text.
//! Never: shows a value of the secrets file.

use core::fmt;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// More are counted, not kept: a file of nonsense must not fill the screen or the memory.
pub const MAX_FINDINGS: usize = 100;

/// One finding; prints as `FILE:LINE: found (expected …)` and a line with the cure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub file: PathBuf,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    pub severity: Severity,
    pub found: String,
    /// Empty when `found` says it all.
    pub expected: String,
    pub cure: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        match self.severity {
            Severity::Error => f.write_str(" error: ")?,
            Severity::Warning => f.write_str(" warning: ")?,
        }
        f.write_str(&self.found)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        if !self.cure.is_empty() {
            write!(f, "\n    cure: {}", self.cure)?;
        }
        Ok(())
    }
}

/// All that is wrong with a file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
    /// How many more there were than [`MAX_FINDINGS`].
    pub more: usize,
}

impl Errors {
    /// The file as a whole cannot be used.
    pub fn of_file(file: &Path, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            errors: vec![Diagnostic {
                file: file.to_owned(),
                line: 0,
                severity: Severity::Error,
                found: found.into(),
                expected: String::new(),
                cure: cure.into(),
            }],
            warnings: Vec::new(),
            more: 0,
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.errors.iter().chain(&self.warnings).enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{finding}")?;
        }
        if self.more > 0 {
            write!(f, "\n… and {} more", self.more)?;
        }
        Ok(())
    }
}

impl core::error::Error for Errors {}

/// Where lines of a file begin, to turn byte offsets into line numbers.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self { starts: core::iter::once(0).chain(ends).collect() }
    }

    pub(crate) fn at(&self, offset: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }
}

/// Gathers findings about one file.
#[derive(Debug)]
pub(crate) struct Findings {
    file: PathBuf,
    lines: Lines,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    more: usize,
}

impl Findings {
    pub(crate) fn new(file: &Path, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            lines: Lines::of(text),
            errors: Vec::new(),
            warnings: Vec::new(),
            more: 0,
        }
    }

    /// About a file whose lines the caller counts itself.
    pub(crate) fn of(file: &Path) -> Self {
        Self::new(file, "")
    }

    pub(crate) fn line(&self, offset: usize) -> u32 {
        self.lines.at(offset)
    }

    pub(crate) fn error(
        &mut self,
        line: u32,
        found: impl Into<String>,
        expected: impl Into<String>,
        cure: impl Into<String>,
    ) {
        let finding = self.finding(line, Severity::Error, found.into(), expected.into(), cure.into());
        if self.errors.len() < MAX_FINDINGS { self.errors.push(finding) } else { self.more += 1 }
    }

    pub(crate) fn warning(&mut self, line: u32, found: impl Into<String>, cure: impl Into<String>) {
        let finding = self.finding(line, Severity::Warning, found.into(), String::new(), cure.into());
        if self.warnings.len() < MAX_FINDINGS { self.warnings.push(finding) } else { self.more += 1 }
    }

    fn finding(
        &self,
        line: u32,
        severity: Severity,
        found: String,
        expected: String,
        cure: String,
    ) -> Diagnostic {
        Diagnostic { file: self.file.clone(), line, severity, found, expected, cure }
    }

    /// The warnings when there was no error, else everything, in file order.
    pub(crate) fn finish(mut self) -> Result<Vec<Diagnostic>, Errors> {
        self.errors.sort_by_key(|e| e.line);
        self.warnings.sort_by_key(|e| e.line);
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Errors { errors: self.errors, warnings: self.warnings, more: self.more })
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }
}
