//! From what the command line calls a build to a program that can be run.
//!
//! Decides: revision, folder or program. Writes: `compare/` below the target folder: a worktree, its build, and the
//! programs of each revision, which are kept. Never: changes the tree it was called in.

use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BENCH: &str = "ravelin-bench";
/// Some benches run what lies beside them. Packages of these names build programs of these names.
const PROGRAMS: [&str; 3] = [BENCH, "ravelin-dataplane", "ravelin-control"];

#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

#[derive(Debug)]
pub(super) struct Builder {
    root: Option<PathBuf>,
    /// Held while this lives: another comparison would change the worktree under our hands.
    cache: PathBuf,
    _lock: File,
}

impl Builder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let root = git(Path::new("."), &["rev-parse", "--show-toplevel"]).ok().map(PathBuf::from);
        let beside = || root.clone().unwrap_or_default().join("target");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(beside, PathBuf::from);
        let cache = std::path::absolute(target.join("compare"))?;
        std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let lock = File::create(cache.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another comparison is running with {}: wait for it", cache.display());
        }
        Ok(Self { root, cache, _lock: lock })
    }

    pub(super) fn program(&self, what: &str) -> anyhow::Result<Program> {
        let path = Path::new(what);
        if path.is_file() {
            return Ok(Program { name: what.into(), path: std::path::absolute(path)? });
        }
        if path.is_dir() {
            return self.folder(what, path);
        }
        let revision = format!("{what}^{{commit}}");
        let found = self.root.as_ref().and_then(|root| git(root, &["rev-parse", "--verify", &revision]).ok());
        match (found, &self.root) {
            (Some(hash), Some(root)) => self.revision(what, root, &hash),
            _ => bail!(
                "neither a program, nor a folder, nor a git revision here; such as: main, HEAD~3, . or \
                        target/release/{BENCH}\n    cure: `git log --oneline` shows the revisions, `git fetch` gets more"
            ),
        }
    }

    fn folder(&self, what: &str, path: &Path) -> anyhow::Result<Program> {
        for built in [path.join(BENCH), path.join("release").join(BENCH)] {
            if built.is_file() {
                return Ok(Program { name: what.into(), path: std::path::absolute(built)? });
            }
        }
        ensure!(path.join("bench/Cargo.toml").is_file(), "no {BENCH} in this folder, and no sources of it");
        let source = std::fs::canonicalize(path)?;
        // What was built from other sources must not be taken for this: a target folder for each path.
        let own =
            self.root.as_ref().is_some_and(|root| std::fs::canonicalize(root).is_ok_and(|r| r == source));
        let target = match (own, self.cache.parent()) {
            (true, Some(target)) => target.to_path_buf(),
            _ => source.join("target"),
        };
        build(&source, &target)?;
        let text: String = source.to_string_lossy().chars().map(|c| if c == '/' { '-' } else { c }).collect();
        let path = self.keep(&target, &format!("tree{text}"))?;
        Ok(Program { name: format!("{what} (as it lies there)"), path })
    }

    fn revision(&self, what: &str, root: &Path, hash: &str) -> anyhow::Result<Program> {
        let name = format!("{what} ({})", hash.get(..12).unwrap_or(hash));
        let kept = self.cache.join("bin").join(hash).join(BENCH);
        if kept.is_file() {
            return Ok(Program { name, path: kept });
        }
        let tree = self.cache.join("tree");
        let place = tree.to_string_lossy();
        if tree.join(".git").exists() {
            git(&tree, &["checkout", "--quiet", "--force", "--detach", hash])?;
        } else {
            git(root, &["worktree", "prune"])?;
            git(root, &["worktree", "add", "--force", "--detach", &place, hash])?;
        }
        let target = self.cache.join("build");
        build(&tree, &target).with_context(|| format!("building {name}"))?;
        Ok(Program { name, path: self.keep(&target, hash)? })
    }

    /// Out of the way of the next build.
    fn keep(&self, target: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.cache.join("bin").join(name);
        std::fs::create_dir_all(&folder)?;
        // The bench comes last: where it lies, all of them do.
        for program in PROGRAMS.iter().rev() {
            let (from, new) = (target.join("release").join(program), folder.join(format!("{program}.new")));
            std::fs::copy(&from, &new).with_context(|| format!("{} was not built", from.display()))?;
            std::fs::rename(&new, folder.join(program))?;
        }
        Ok(folder.join(BENCH))
    }
}

fn build(source: &Path, target: &Path) -> anyhow::Result<()> {
    eprintln!("building {} (a few minutes the first time)", source.display());
    let mut command = Command::new("cargo");
    command.current_dir(source).env("CARGO_TARGET_DIR", target).stdin(Stdio::null()).stdout(Stdio::null());
    command.args(["build", "--release", "--locked", "--quiet"]);
    command.args(PROGRAMS.iter().flat_map(|p| ["-p", p]));
    let status = command.status().context("cannot start cargo: is Rust installed?")?;
    ensure!(
        status.success(),
        "cargo build failed in {}: see above\n    cure: build it there by hand to see more, or compare with a revision \
         that builds",
        source.display()
    );
    Ok(())
}

/// What git prints, without the line's end.
fn git(at: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    let output = command.arg("-C").arg(at).args(arguments).stdin(Stdio::null()).output();
    let output = output.context("cannot start git: is it installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(here: &Path) -> Builder {
        let lock = File::create(here.join("lock")).unwrap();
        Builder { root: None, cache: here.into(), _lock: lock }
    }

    fn file(here: &Path, name: &str) -> PathBuf {
        let path = here.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        path
    }

    #[test]
    fn a_program_and_the_folders_it_lies_in_are_found() {
        let here = tempfile::tempdir().unwrap();
        let here = here.path();
        let path = file(here, "release/ravelin-bench");
        let builder = builder(here);
        for what in [path.clone(), here.join("release"), here.into()] {
            assert_eq!(builder.program(what.to_str().unwrap()).unwrap().path, path);
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_examples() {
        let here = tempfile::tempdir().unwrap();
        let here = here.path();
        let builder = builder(here);
        let text = builder.program("no-such-thing").unwrap_err().to_string();
        assert!(text.contains("git revision") && text.contains("HEAD~3"), "{text}");
        std::fs::create_dir(here.join("empty")).unwrap();
        let empty = here.join("empty");
        assert!(
            builder.program(empty.to_str().unwrap()).unwrap_err().to_string().contains("no ravelin-bench")
        );
    }

    #[test]
    fn both_programs_are_kept_where_the_next_build_does_not_reach_them() {
        let here = tempfile::tempdir().unwrap();
        let here = here.path();
        let builder = builder(here);
        let target = here.join("target");
        assert!(builder.keep(&target, "x").unwrap_err().to_string().contains("was not built"));
        for program in PROGRAMS {
            file(here, &format!("target/release/{program}"));
        }
        let kept = builder.keep(&target, "x").unwrap();
        assert!(kept.is_file() && kept.with_file_name("ravelin-dataplane").is_file());
    }
}
