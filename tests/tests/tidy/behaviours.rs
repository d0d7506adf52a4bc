//! `BEHAVIOURS.md` against the tests: every name in it is a test, every behaviour and every schedule
//! has one or says that it is not built yet. What the tests prove is theirs to say.

use std::collections::HashSet;
use std::fmt::Write as _;

use tandem_tests::harness::root;

const PAGE: &str = "tests/BEHAVIOURS.md";
const NOT_BUILT: &str = "not built yet";
/// The schedules are numbered up to here, each at least once, with 26a to 26e among them.
const SCHEDULES: u32 = 47;
/// The fewest behaviours: a page that was cut short must not pass.
const BEHAVIOURS_MIN: u32 = 60;

/// A line of a table: its number, what it names, and the cell with the tests.
struct Row<'a> {
    number: &'a str,
    name: &'a str,
    shown_by: &'a str,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let rows = text.lines().filter_map(row);
    rows.filter(|row| !row.number.is_empty() && !row.number.starts_with('-')).collect()
}

fn row(line: &str) -> Option<Row<'_>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let mut cells = inner.split('|').map(str::trim);
    let (number, name, shown_by) = (cells.next()?, cells.next()?, cells.next()?);
    Some(Row { number, name, shown_by })
}

/// What stands between back quotes: `file: function`.
fn tests_in(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether a source has a test of this name.
fn has_test(source: &str, function: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let opens = format!("fn {function}(");
    let found = lines.iter().enumerate().filter(|(_, line)| {
        line.strip_prefix("async ").unwrap_or(line).starts_with(opens.as_str())
    });
    found.map(|(at, _)| at).any(|at| {
        let above = lines.iter().take(at).rev();
        let mut attributes =
            above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// All that is wrong with the page; `read` gives a source by its path.
fn wrong(page: &str, read: impl Fn(&str) -> Option<String>) -> String {
    let mut report = String::new();
    let (mut numbers, mut schedules) = (HashSet::new(), HashSet::new());
    let rows = rows(page);
    for row in &rows {
        let Row { number, name, shown_by } = row;
        if !numbers.insert(*number) && number.starts_with('B') {
            let _ = writeln!(report, "{number} stands twice");
        }
        if !number.starts_with('B') && !schedules.insert(*name) {
            let _ = writeln!(report, "schedule {name} stands twice");
        }
        let mut seen = HashSet::new();
        for test in tests_in(shown_by) {
            if !seen.insert(test) {
                let _ = writeln!(report, "{number}: {test} stands twice");
            }
            let found = test.split_once(": ").is_some_and(|(path, function)| {
                read(path).is_some_and(|source| has_test(&source, function))
            });
            if !found {
                let _ = writeln!(report, "{number}: there is no test {test:?}");
            }
        }
        if seen.is_empty() && !shown_by.contains(NOT_BUILT) {
            let _ = writeln!(report, "{number}: no test, and not a word that it is {NOT_BUILT}");
        }
    }
    let last = rows.iter().filter(|row| row.number.starts_with('B')).count();
    let last = u32::try_from(last).unwrap_or(u32::MAX).max(BEHAVIOURS_MIN);
    let behaviours = (1..=last).map(|n| format!("B{n}"));
    let of_26 = ('a'..='e').map(|letter| format!("26{letter}"));
    let wanted = behaviours.chain((1..=SCHEDULES).map(|n| n.to_string())).chain(of_26);
    for number in wanted.filter(|number| !numbers.contains(number.as_str())) {
        let _ = writeln!(report, "{number} is missing");
    }
    report
}

#[test]
fn every_behaviour_names_tests_that_exist() {
    let page = std::fs::read_to_string(root().join(PAGE)).expect("the page is there");
    let report = wrong(&page, |path| std::fs::read_to_string(root().join(path)).ok());
    assert!(report.is_empty(), "{PAGE}:\n{report}");
    let count = rows(&page).iter().filter(|row| row.number.starts_with('B')).count();
    let head = page.split("\n\n## ").next().unwrap_or_default().replace('\n', " ");
    let named = format!(": {count} behaviours (");
    assert!(head.contains(&named), "{PAGE}: the head does not say{named}");
    assert!(head.contains(&format!(" {SCHEDULES} schedules")), "{PAGE}: its schedules");
}

#[test]
fn a_page_that_lies_is_found() {
    let source = "#[test]\nfn there() {}\n\nfn no_test() {}\n";
    let read = |path: &str| (path == "a.rs").then(|| source.to_owned());
    for (line, said) in [
        ("| B1 | x | `a.rs: there` |", None),
        ("| B1 | x | not built yet |", None),
        ("| B1 | x | `a.rs: nowhere` |", Some("no test \"a.rs: nowhere\"")),
        ("| B1 | x | `a.rs: no_test` |", Some("no test \"a.rs: no_test\"")),
        ("| B1 | x | `b.rs: there` |", Some("no test \"b.rs: there\"")),
        ("| B1 | x | `a.rs: there`, `a.rs: there` |", Some("stands twice")),
        ("| B1 | x | soon |", Some("not a word")),
        ("| B1 | x | not built yet |\n| B1 | y | not built yet |", Some("B1 stands twice")),
        ("| 1 | x | not built yet |\n| 2 | x | not built yet |", Some("schedule x stands twice")),
    ] {
        let report = wrong(line, read);
        let others = report.lines().filter(|line| !line.ends_with("is missing"));
        let others: Vec<&str> = others.collect();
        match said {
            None => assert!(others.is_empty(), "{line}: {others:?}"),
            Some(said) => assert!(report.contains(said), "{line}: {report}"),
        }
        assert!(report.contains("26c is missing"), "{line}: {report}");
    }
}
