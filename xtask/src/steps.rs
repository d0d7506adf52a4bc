//! Steps that a person can follow: what is done, what it says meanwhile, how long it took.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::style;
use indicatif::{ProgressBar, ProgressStyle};

use crate::outcome::{Failure, Outcome};

/// Lines of a failed step that are shown.
const SHOWN: usize = 400;

/// Runs a program as a step: a spinner with its last line, all of its output if it fails, and the
/// lines that `keep` wants if it does not.
pub(crate) fn run(name: &str, mut command: Command, keep: fn(&str) -> bool) -> Outcome {
    let start = Instant::now();
    let bar = spinner(name);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = shown(&command);
    let mut child = command.spawn().map_err(Failure::io(format!("{name}: start `{shown}`")))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let lines = Mutex::new((VecDeque::new(), Vec::new()));
    std::thread::scope(|scope| {
        if let Some(out) = out {
            scope.spawn(|| follow(out, &bar, &lines, keep));
        }
        if let Some(err) = err {
            scope.spawn(|| follow(err, &bar, &lines, keep));
        }
    });
    let status = child.wait().map_err(Failure::io(format!("{name}: wait for `{shown}`")))?;
    bar.finish_and_clear();
    let (all, kept) = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !status.success() {
        for line in all {
            println!("{line}");
        }
        let (step, status) = (name.to_owned(), status.to_string());
        return Err(Failure::Program { step, command: shown, status });
    }
    done(name, start.elapsed());
    for line in kept {
        println!("  {line}");
    }
    Ok(())
}

/// Keeps none of a step's lines.
pub(crate) fn quiet(_: &str) -> bool {
    false
}

/// Says that a step is done.
pub(crate) fn done(name: &str, took: Duration) {
    println!("{} {name} {}", style("✓").green(), style(format!("{:.1?}", took)).dim());
}

/// Says something to the reader.
pub(crate) fn say(text: &str) {
    println!("{} {text}", style("•").cyan());
}

/// A turning mark with a name.
pub(crate) fn spinner(name: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(look) = ProgressStyle::with_template("{spinner:.cyan} {prefix} {wide_msg:.dim}") {
        bar.set_style(look);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    if !console::user_attended_stderr() {
        println!("… {name}");
    }
    bar
}

/// A bar that fills.
pub(crate) fn progress(name: &str, of: u64) -> ProgressBar {
    let bar = ProgressBar::new(of);
    let look = "{spinner:.cyan} {prefix} {bar:30.cyan/dim} {pos}/{len} {wide_msg:.dim}";
    if let Ok(look) = ProgressStyle::with_template(look) {
        bar.set_style(look);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

type Lines = Mutex<(VecDeque<String>, Vec<String>)>;

fn follow(pipe: impl Read, bar: &ProgressBar, lines: &Lines, keep: fn(&str) -> bool) {
    for line in BufReader::new(pipe).lines() {
        let Ok(line) = line else { return };
        bar.set_message(console::strip_ansi_codes(&line).trim().to_owned());
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if keep(&line) {
            lines.1.push(line.clone());
        }
        if lines.0.len() == SHOWN {
            lines.0.pop_front();
        }
        lines.0.push_back(line);
    }
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}
