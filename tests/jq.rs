//! The jq recipes of the manual page, on a recording, by the real jq: each shows what the page says that it shows.
//!
//! Without jq each is listed as ignored: this is why they have a harness of their own. `UPDATE=1 cargo test --test jq`
//! writes what they show into the page.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use common::{UPCALL_MONITOR, is_installed, run};
use libtest_mimic::{Arguments, Trial};

/// The section of the manual page, in the form of `ovs_tracers::cli::manual::Section`.
const PAGE: &str = "src/bin/upcall-monitor/jq.txt";

struct Recipe {
    /// The paragraph above it.
    title: String,
    command: String,
    /// Where the command is, and what the page says it shows.
    paragraph: usize,
    output: Option<String>,
}

fn is_literal(paragraph: &str) -> bool {
    paragraph.starts_with("    ")
}

/// A literal paragraph without its margin.
fn unindented(paragraph: &str) -> String {
    let lines = paragraph.lines().map(|line| {
        let line = line.strip_prefix("    ").unwrap_or(line);
        format!("{line}\n")
    });
    lines.collect()
}

/// A literal paragraph that begins with jq is a recipe; if the next one is literal too, it is what the recipe shows.
fn recipes(page: &str) -> Vec<Recipe> {
    let paragraphs: Vec<&str> = page.trim_end().split("\n\n").collect();
    let mut recipes = Vec::new();
    for (number, paragraph) in paragraphs.iter().enumerate() {
        if paragraph.starts_with("    jq ") {
            let next = paragraphs.get(number + 1).filter(|next| is_literal(next));
            recipes.push(Recipe {
                title: paragraphs[number - 1].replace('\n', " "),
                command: unindented(paragraph),
                paragraph: number,
                output: next.map(|next| unindented(next)),
            });
        }
    }
    recipes
}

/// Runs a recipe where upcalls.json is.
fn show(recipe: &Recipe, folder: &Path) -> Result<String, String> {
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", &recipe.command])
        .current_dir(folder)
        // The order of sort is otherwise that of the tester's language.
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| error.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && stderr.is_empty() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{}\n{stderr}", output.status))
    }
}

/// Writes what the recipes show into the page.
fn update(page: &str, recipes: &[Recipe], folder: &Path) {
    let mut text = String::new();
    let mut skip = false;
    for (number, paragraph) in page.trim_end().split("\n\n").enumerate() {
        if !std::mem::take(&mut skip) {
            text += &format!("{paragraph}\n\n");
        }
        if let Some(recipe) = recipes.iter().find(|recipe| recipe.paragraph == number) {
            skip = recipe.output.is_some();
            let output = show(recipe, folder).expect("the recipe works");
            for line in output.lines() {
                text += &format!("    {line}\n");
            }
            text += "\n";
        }
    }
    fs::write(PAGE, text.trim_end().to_owned() + "\n").expect("the page can be written");
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recording = root.join("fixtures/recordings/lab-6.1.rec");
    let recording = recording.to_str().expect("a path in UTF-8");
    let json = run(
        UPCALL_MONITOR,
        &["--replay", recording, "--format", "json", "-d", "decode"],
    );
    fs::write(folder.path().join("upcalls.json"), json).expect("it can be written");

    let page = fs::read_to_string(root.join(PAGE)).expect("the section is there");
    let recipes = recipes(&page);
    assert!(recipes.len() >= 5, "the recipes are not found in {PAGE}");
    if std::env::var_os("UPDATE").is_some() {
        update(&page, &recipes, folder.path());
        return ExitCode::SUCCESS;
    }
    let lacks_jq = !is_installed("jq");
    let path = folder.path().to_owned();
    let trials = recipes.into_iter().map(|recipe| {
        let path = path.clone();
        let title = recipe.title.clone();
        // Check that a recipe shows what the manual page says.
        let test = Trial::test(title, move || {
            let shown = show(&recipe, &path)?;
            if recipe.output.as_ref() == Some(&shown) {
                return Ok(());
            }
            let stated = recipe.output.as_deref().unwrap_or("nothing\n");
            Err(format!("{}shows\n{shown}instead of\n{stated}", recipe.command).into())
        });
        match lacks_jq {
            true => test.with_kind("skipped, needs jq").with_ignored_flag(true),
            false => test,
        }
    });
    let trials = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
