//! Files of one crate don't use each other in circles: a reader who begins at one that uses nothing else, and goes on to those
//! that use only what is known by then, comes to all of them.
//!
//! In each folder, a file and the folder of its name are one room. No room uses another that uses it, directly or by others.
//! A file and what is in its own folder are one thing, and may use each other. So may tests whatever they test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use towpath_rules::{files, none};

/// A module by its path in its crate: `src/config/read.rs` is `config`, `read`; the crate's root is empty.
type Module = Vec<String>;

/// The modules of one crate, with their texts.
#[derive(Default)]
struct Sources(BTreeMap<Module, String>);

/// A path of a `use`, or of an expression, and the name that it has where it is written.
struct Used {
    path: Module,
    name: String,
}

#[test]
fn files_of_a_crate_do_not_use_each_other_in_circles() {
    let mut crates: BTreeMap<String, Sources> = BTreeMap::new();
    for (path, text) in files("", ".rs") {
        if let Some((name, file)) = path.split_once("/src/") {
            crates.entry(name.to_owned()).or_default().add(file, &text);
        }
    }
    assert!(crates.len() > 15, "{:?}", crates.keys());
    let circles =
        crates.iter().flat_map(|(name, sources)| sources.circles().map(move |circle| format!("{name}: {circle}")));
    none(&circles.collect::<Vec<_>>());
}

impl Sources {
    fn add(&mut self, file: &str, text: &str) {
        let mut module: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.iter().any(|part| part == "tests") {
            return;
        }
        if module == ["lib"] {
            module.clear();
        }
        self.0.insert(module, code(text));
    }

    /// Every circle once, as who uses whom.
    fn circles(&self) -> impl Iterator<Item = String> {
        let uses = self.uses();
        let folders: BTreeSet<&[String]> = self.0.keys().filter_map(|module| Some(module.split_last()?.1)).collect();
        folders.into_iter().flat_map(move |folder| circles_in(folder, &uses)).collect::<Vec<_>>().into_iter()
    }

    /// Which modules each module uses.
    fn uses(&self) -> Vec<(Module, Module)> {
        let exported = self.exported();
        let mut uses = Vec::new();
        for (module, code) in &self.0 {
            for used in paths(code) {
                uses.push((module.clone(), self.owner(&exported, absolute(module, &used.path))));
            }
        }
        uses
    }

    /// What stands in one module and has a name in another: the module and the name, with the path to it.
    fn exported(&self) -> BTreeMap<(Module, String), Module> {
        let mut exported = BTreeMap::new();
        for (module, code) in &self.0 {
            for used in exports(code) {
                exported.insert((module.clone(), used.name), absolute(module, &used.path));
            }
        }
        exported
    }

    /// The module in which the thing with this path stands.
    fn owner(&self, exported: &BTreeMap<(Module, String), Module>, path: Module) -> Module {
        let mut path = path;
        // A name is exported through some modules at most.
        for _ in 0..8 {
            let at = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length])).unwrap_or_default();
            let Some(name) = path.get(at) else { break };
            let Some(target) = exported.get(&(path[..at].to_vec(), name.clone())) else {
                path.truncate(at);
                break;
            };
            path = target.iter().chain(&path[at + 1..]).cloned().collect();
        }
        path
    }
}

/// The circles of the rooms of one folder, each as the uses that make it.
fn circles_in(folder: &[String], uses: &[(Module, Module)]) -> Vec<String> {
    let depth = folder.len();
    let mut rooms: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (user, used) in uses {
        let below = |module: &Module| module.len() > depth && module.starts_with(folder);
        if below(user) && below(used) && user[depth] != used[depth] {
            let said = || format!("{} uses {}", user.join("/"), used.join("/"));
            rooms.entry(&user[depth]).or_default().entry(&used[depth]).or_insert_with(said);
        }
    }
    rooms.keys().filter_map(|first| shortest(first, &rooms)).collect()
}

/// The shortest circle through a room, where no other room of the circle comes before it by name.
fn shortest(first: &str, rooms: &BTreeMap<&str, BTreeMap<&str, String>>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut ways = VecDeque::from([(first, Vec::new())]);
    while let Some((room, way)) = ways.pop_front() {
        for (next, said) in rooms.get(room).into_iter().flatten() {
            let way: Vec<&str> = way.iter().copied().chain([said.as_str()]).collect();
            if *next == first {
                return Some(way.join(", "));
            }
            if *next > first && seen.insert(*next) {
                ways.push_back((*next, way));
            }
        }
    }
    None
}

/// The text without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
    let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
    lines[..end].join("\n")
}

/// All paths that begin with `crate` or `super`.
fn paths(code: &str) -> Vec<Used> {
    let begins = |word: &'static str| code.match_indices(word).map(|(at, _)| at);
    let is_whole = |at: &usize| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let starts = begins("crate::").chain(begins("super::")).filter(is_whole);
    starts.flat_map(|at| expand(tree(&code[at..]))).collect()
}

/// What is exported under another path than its own.
fn exports(code: &str) -> Vec<Used> {
    let statements = code.split(';').filter_map(|statement| {
        let (before, tree) = statement.rsplit_once("use ")?;
        let visible = before.trim_end().rsplit(char::is_whitespace).next()?;
        visible.starts_with("pub").then_some(tree)
    });
    statements.flat_map(expand).collect()
}

/// The path, or the tree of paths, that a text begins with.
fn tree(text: &str) -> &str {
    let mut open = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        match c {
            '{' if open > 0 || text[..at].ends_with("::") => open += 1,
            '}' if open == 1 => return Some(at + 1),
            '}' if open > 1 => open -= 1,
            _ if open == 0 && !c.is_alphanumeric() && c != '_' && c != ':' => return Some(at),
            _ => {}
        }
        None
    });
    &text[..end.unwrap_or(text.len())]
}

/// `a::{b, c::d as e}` as `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<Used> {
    let parts =
        |text: &str| text.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let Some((head, rest)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
        let mut path: Module = parts(path);
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = alias.or(path.last().map(String::as_str)).unwrap_or_default().to_owned();
        return vec![Used { path, name }];
    };
    let head: Module = parts(head);
    let mut open = 0;
    let branches = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside).split(|c| {
        open += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && open == 0
    });
    let all = branches.filter(|branch| !branch.trim().is_empty()).flat_map(expand);
    all.map(|used| Used {
        name: if used.path.is_empty() { head.last().cloned().unwrap_or_default() } else { used.name },
        path: head.iter().chain(&used.path).cloned().collect(),
    })
    .collect()
}

/// A path as it is written in a module, from the crate's root.
fn absolute(module: &[String], path: &[String]) -> Module {
    let (mut from, mut rest) = (module.to_vec(), path);
    loop {
        match rest.split_first() {
            Some((first, after)) if first == "crate" => (from, rest) = (Module::new(), after),
            Some((first, after)) if first == "self" => rest = after,
            Some((first, after)) if first == "super" => {
                from.pop();
                rest = after;
            }
            _ => return from.into_iter().chain(rest.iter().cloned()).collect(),
        }
    }
}

fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let mut sources = Sources::default();
    files.iter().for_each(|(file, text)| sources.add(file, text));
    sources.circles().collect()
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    assert_eq!(
        circles_of(&[
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use super::{\n    c::{self, C},\n};"),
            ("c.rs", "fn c(a: crate::a::A) {}")
        ]),
        ["a uses b, b uses c, c uses a"]
    );
    assert_eq!(
        circles_of(&[
            ("a/x.rs", "use super::super::b::y::Y;"),
            ("b.rs", ""),
            ("b/y.rs", ""),
            ("b/z.rs", "use crate::a;")
        ]),
        Vec::<String>::new(),
        "there is no module a"
    );
    assert_eq!(
        circles_of(&[
            ("a.rs", ""),
            ("a/x.rs", "use crate::b::y::Y;"),
            ("b.rs", ""),
            ("b/y.rs", ""),
            ("b/z.rs", "use crate::a;")
        ]),
        ["a/x uses b/y, b/z uses a"],
        "rooms use each other, though no two files do"
    );
    assert_eq!(
        circles_of(&[
            ("lib.rs", "pub use a::A as First;\nmod a;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::First;")
        ]),
        ["a uses b, b uses a"],
        "it is used under the name that the root gives it"
    );
}

#[test]
fn parents_children_and_tests_are_free() {
    let parent = ("a.rs", "mod x;\nuse x::X;\nuse crate::b::B;\nfn a() -> self::x::Y {}");
    assert_eq!(
        circles_of(&[parent, ("a/x.rs", "use super::A;\nuse super::y::Y;"), ("a/y.rs", ""), ("b.rs", "")]),
        [""; 0]
    );
    let tested = "// crate::a::A\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n";
    assert_eq!(
        circles_of(&[("a.rs", "use crate::b::B;"), ("b.rs", tested), ("b/tests.rs", "use crate::a::A;")]),
        [""; 0]
    );
}
