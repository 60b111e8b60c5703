//! From what the command line calls a build to a program that can be run.
//!
//! Decides: revision, folder or program. Writes: `compare/` below the target folder: a worktree, its build, and the
//! programs of each revision, which are kept. Never: changes the tree it was called in.

use crate::instrument::WrongOption;
use anyhow::{Context, anyhow, bail, ensure};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

const BENCH: &str = "ravelin-bench";
/// Some benches run what lies beside them. Packages of these names build programs of these names.
const PROGRAMS: [&str; 3] = [BENCH, "ravelin-dataplane", "ravelin-control"];

#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// What the command line calls a build.
#[derive(Debug)]
pub(super) enum Found {
    Program(Program),
    Sources { name: String, path: PathBuf },
    Revision { name: String, hash: String },
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

    /// What that means; nothing is built yet.
    pub(super) fn find(&self, what: &str) -> anyhow::Result<Found> {
        let path = Path::new(what);
        if path.is_file() {
            return Ok(Found::Program(Program { name: what.into(), path: std::path::absolute(path)? }));
        }
        if path.is_dir() {
            for built in [path.join(BENCH), path.join("release").join(BENCH)] {
                if built.is_file() {
                    let path = std::path::absolute(built)?;
                    return Ok(Found::Program(Program { name: what.into(), path }));
                }
            }
            if path.join("bench/Cargo.toml").is_file() {
                return Ok(Found::Sources { name: what.into(), path: std::fs::canonicalize(path)? });
            }
            return Err(anyhow!("no {BENCH} in this folder, and no sources of it").context(WrongOption));
        }
        let revision = format!("{what}^{{commit}}");
        let found =
            |root: &PathBuf| git(root, &["rev-parse", "--verify", "--end-of-options", &revision]).ok();
        match self.root.as_ref().and_then(found) {
            Some(hash) => {
                let name = format!("{what} ({})", hash.get(..12).unwrap_or(&hash));
                Ok(Found::Revision { name, hash })
            }
            None => Err(anyhow!(
                "neither a program, nor a folder, nor a git revision here; such as: main, HEAD~3, . or \
                 target/release/{BENCH}\n    cure: `git log --oneline` shows the revisions, `git fetch` gets more"
            )
            .context(WrongOption)),
        }
    }

    pub(super) fn program(&self, found: Found) -> anyhow::Result<Program> {
        match found {
            Found::Program(program) => Ok(program),
            Found::Sources { name, path } => self.sources(&name, &path),
            Found::Revision { name, hash } => self.revision(name, &hash),
        }
    }

    fn sources(&self, name: &str, source: &Path) -> anyhow::Result<Program> {
        // What was built from other sources must not be taken for this: a target folder for each path.
        let own =
            self.root.as_ref().is_some_and(|root| std::fs::canonicalize(root).is_ok_and(|r| r == source));
        let target = match (own, self.cache.parent()) {
            (true, Some(target)) => target.to_path_buf(),
            _ => source.join("target"),
        };
        build(name, source, &target)?;
        let text: String = source.to_string_lossy().chars().map(|c| if c == '/' { '-' } else { c }).collect();
        let path = self.keep(&target, &format!("tree{text}"))?;
        Ok(Program { name: format!("{name} (as it lies there)"), path })
    }

    fn revision(&self, name: String, hash: &str) -> anyhow::Result<Program> {
        let kept = self.cache.join("bin").join(hash).join(BENCH);
        if kept.is_file() {
            eprintln!("{name}: built before, {}", kept.display());
            return Ok(Program { name, path: kept });
        }
        let tree = self.worktree(hash)?;
        let target = self.cache.join("build");
        build(&name, &tree, &target)?;
        Ok(Program { name, path: self.keep(&target, hash)? })
    }

    /// With that revision in it.
    fn worktree(&self, hash: &str) -> anyhow::Result<PathBuf> {
        let tree = self.cache.join("tree");
        // One that another clone made, or that is half made, does not know the revision.
        let known = tree.join(".git").exists()
            && git(&tree, &["checkout", "--quiet", "--force", "--detach", hash]).is_ok();
        if !known {
            let root = self.root.as_ref().context("not in a git repository")?;
            if tree.exists() {
                std::fs::remove_dir_all(&tree)
                    .with_context(|| format!("cannot remove {}", tree.display()))?;
            }
            git(root, &["worktree", "prune"])?;
            git(root, &["worktree", "add", "--force", "--detach", &tree.to_string_lossy(), hash])?;
        }
        Ok(tree)
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

fn build(name: &str, source: &Path, target: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("cargo");
    command.current_dir(source).env("CARGO_TARGET_DIR", target).stdin(Stdio::null()).stdout(Stdio::null());
    command.args(["build", "--release", "--locked", "--color", "never"]).stderr(Stdio::piped());
    command.args(PROGRAMS.iter().flat_map(|p| ["-p", p]));
    eprintln!("{name}: building in {} (a few minutes the first time)", source.display());
    let mut child = command.spawn().context("cannot start cargo: is Rust installed?")?;
    let mut news = News::new(name);
    if let Some(said) = child.stderr.take() {
        news.follow(said);
    }
    ensure!(
        child.wait()?.success(),
        "cargo build failed in {}:\n  {}\n    cure: build it there by hand to see more, or compare with a revision \
         that builds",
        source.display(),
        news.last.into_iter().collect::<Vec<_>>().join("\n  ")
    );
    eprintln!("{name}: built in {} s", news.started.elapsed().as_secs());
    Ok(())
}

/// What cargo says, told so that nobody waits without knowing for what.
#[derive(Debug)]
struct News<'n> {
    name: &'n str,
    started: Instant,
    told: Instant,
    crates: usize,
    now: String,
    /// Shown when it fails.
    last: VecDeque<String>,
}

impl<'n> News<'n> {
    const EVERY: Duration = Duration::from_secs(15);
    const LAST: usize = 30;

    fn new(name: &'n str) -> Self {
        let (now, last) = (String::new(), VecDeque::new());
        Self { name, started: Instant::now(), told: Instant::now(), crates: 0, now, last }
    }

    fn follow(&mut self, said: impl Read + Send + 'static) {
        let (tell, hear) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(said).lines().map_while(Result::ok);
            for line in lines {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        loop {
            match hear.recv_timeout(Self::EVERY) {
                Ok(line) => self.hear(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.told.elapsed() >= Self::EVERY {
                self.told = Instant::now();
                let Self { name, crates, now, .. } = self;
                eprintln!(
                    "{name}: {} s, {crates} crates begun, the last {now}",
                    self.started.elapsed().as_secs()
                );
            }
        }
    }

    fn hear(&mut self, line: String) {
        if let Some(what) = line.trim_start().strip_prefix("Compiling ") {
            self.crates += 1;
            self.now = what.split(' ').next().unwrap_or(what).to_owned();
            return;
        }
        if self.last.len() == Self::LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
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
            let found = builder.find(what.to_str().unwrap()).unwrap();
            assert_eq!(builder.program(found).unwrap().path, path);
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_examples() {
        let here = tempfile::tempdir().unwrap();
        let here = here.path();
        let builder = builder(here);
        let error = builder.find("no-such-thing").unwrap_err();
        assert!(error.is::<WrongOption>());
        let text = format!("{error:#}");
        assert!(text.contains("git revision") && text.contains("HEAD~3"), "{text}");
        std::fs::create_dir(here.join("empty")).unwrap();
        let empty = here.join("empty");
        let text = format!("{:#}", builder.find(empty.to_str().unwrap()).unwrap_err());
        assert!(text.contains("no ravelin-bench"), "{text}");
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

    /// A real repository: two revisions, the second a worktree that another clone left behind.
    #[test]
    fn a_worktree_holds_the_revision_that_is_asked_for() {
        let here = tempfile::tempdir().unwrap();
        let (root, cache) = (here.path().join("root"), here.path().join("cache"));
        for folder in [&root, &cache] {
            std::fs::create_dir(folder).unwrap();
        }
        let run = |arguments: &[&str]| git(&root, arguments).unwrap();
        run(&["init", "--quiet"]);
        let commit = |text: &str| {
            std::fs::write(root.join("file"), text).unwrap();
            run(&["add", "file"]);
            let who = ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", text];
            run(&who);
            run(&["rev-parse", "HEAD"])
        };
        let hashes = ["one", "two"].map(commit);
        let builder = Builder { root: Some(root.clone()), ..builder(&cache) };
        let Found::Revision { name, hash } = builder.find("HEAD~1").unwrap() else { panic!("a revision") };
        assert_eq!((&name[..8], &hash), ("HEAD~1 (", &hashes[0]));
        let read = |hash: &str| {
            let tree = builder.worktree(hash).unwrap();
            std::fs::read_to_string(tree.join("file")).unwrap()
        };
        assert_eq!([read(&hashes[0]), read(&hashes[1])], ["one", "two"]);
        // Its repository is no longer there.
        std::fs::write(cache.join("tree/.git"), "gitdir: /nowhere/at/all").unwrap();
        assert_eq!(read(&hashes[0]), "one");
    }

    #[test]
    fn what_cargo_says_is_told_and_the_end_is_kept() {
        let mut news = News::new("x");
        let noise = (0..40).map(|n| format!("note {n}\n")).collect::<String>();
        news.follow(std::io::Cursor::new(format!(
            "   Compiling libc v0.2\n   Compiling serde v1.0\n{noise}"
        )));
        assert_eq!((news.crates, &news.now[..], news.last.len()), (2, "serde", News::LAST));
        assert_eq!(news.last.back().unwrap(), "note 39");
    }
}
