//! Joins the scripts of `wasm/js` and the glue into one module, so that a page loads one script.
//!
//! Each file becomes a function that is run once and returns what it exports. Only the lines of
//! import and export are changed; lines that are comments and indents are left out. A form that is
//! not known is an error.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::Error;

/// The files, each after all that it imports.
const FILES: [&str; 15] = [
    "keep.js",
    "session.js",
    "elements/base.js",
    "elements/value.js",
    "elements/bar.js",
    "elements/alarms.js",
    "elements/button.js",
    "elements/input.js",
    "elements/link.js",
    "elements/notice.js",
    "elements/paint.js",
    "elements/session.js",
    "elements/status.js",
    "elements/trend.js",
    "tandem.js",
];
/// Stands for the glue, which the build makes.
const GLUE: &str = "glue.js";

/// The bundle's text.
pub(super) fn join(dir: &Path, glue: &str, wasm_name: &str) -> Result<String, Error> {
    let mut bundle = String::from("const modules = {};\n");
    bundle.push_str(&glue_module(glue, wasm_name));
    let mut exports = Vec::new();
    for file in FILES {
        let path = dir.join(file);
        let text = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
        let module = Module::read(file, &text)?;
        module.write(file, &mut bundle);
        exports = module.exports;
    }
    let entry = FILES.last().copied().unwrap_or_default();
    let _ = writeln!(bundle, "const {{ {} }} = modules[\"{entry}\"];", exports.join(", "));
    let _ = writeln!(bundle, "export {{ {} }};", exports.join(", "));
    Ok(bundle)
}

/// The glue asks for the module at once, while the rest of the script is still read.
fn glue_module(glue: &str, wasm_name: &str) -> String {
    let mut text = String::new();
    let mut lines = glue.lines();
    for line in lines.by_ref() {
        if line.starts_with("export {") {
            break;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        text.push_str(line);
        text.push('\n');
    }
    format!(
        "modules[\"{GLUE}\"] = (() => {{\n\
         const file = fetch(new URL(\"{wasm_name}\", import.meta.url));\n\
         file.catch(() => undefined);\n\
         {text}\
         return {{ glue: {{ Session, init: () => __wbg_init({{ module_or_path: file }}) }} }};\n\
         }})();\n"
    )
}

#[derive(Debug, Default)]
struct Module {
    body: String,
    exports: Vec<String>,
}

impl Module {
    fn read(file: &str, text: &str) -> Result<Module, Error> {
        let mut module = Module::default();
        let mut in_comment = false;
        for line in text.lines() {
            if in_comment || line.trim_start().starts_with("/**") {
                in_comment = !line.trim_end().ends_with("*/");
            } else if line.starts_with("import") {
                module.import(file, line)?;
            } else if let Some(rest) = line.strip_prefix("export ") {
                module.export(file, rest)?;
            } else if !line.is_empty() && !line.trim_start().starts_with("//") {
                module.body.push_str(line.trim_start());
                module.body.push('\n');
            }
        }
        Ok(module)
    }

    /// `import { a, b } from "./x.js";` becomes a look at what that file returned.
    fn import(&mut self, file: &str, line: &str) -> Result<(), Error> {
        let parts = line
            .strip_prefix("import {")
            .and_then(|rest| rest.split_once("} from \""))
            .and_then(|(names, rest)| Some((names.trim(), rest.strip_suffix("\";")?)));
        let Some((names, from)) = parts else {
            return Err(unknown(file, line));
        };
        let _ = writeln!(self.body, "const {{ {names} }} = modules[\"{}\"];", resolve(file, from));
        Ok(())
    }

    fn export(&mut self, file: &str, rest: &str) -> Result<(), Error> {
        if let Some(names) = rest.strip_prefix('{') {
            let names = names.trim_end_matches(['}', ';', ' ']);
            self.exports.extend(names.split(',').map(|name| name.trim().to_owned()));
            return Ok(());
        }
        let name = ["class ", "function ", "async function ", "const "]
            .iter()
            .find_map(|kind| rest.strip_prefix(kind))
            .map(|rest| {
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
            });
        match name {
            Some(name) if !name.is_empty() => {
                self.exports.push(name);
                self.body.push_str(rest);
                self.body.push('\n');
                Ok(())
            }
            Some(_) | None => Err(unknown(file, rest)),
        }
    }

    fn write(&self, file: &str, bundle: &mut String) {
        let _ = write!(
            bundle,
            "modules[\"{file}\"] = (() => {{\n{}return {{ {} }};\n}})();\n",
            self.body,
            self.exports.join(", ")
        );
    }
}

fn unknown(file: &str, line: &str) -> Error {
    Error::Script { file: file.to_owned(), what: format!("a form that is not known: {line}") }
}

/// The imported file's path below the folder.
fn resolve(file: &str, from: &str) -> String {
    let mut path: Vec<&str> = file.split('/').collect();
    path.pop();
    for part in from.split('/') {
        match part {
            "." => {}
            ".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.join("/")
}

#[cfg(test)]
mod tests {
    use super::{Module, resolve};

    #[test]
    fn a_module_becomes_a_function() {
        let text = "import { a } from \"../b.js\";\n// why\n/** What\n * it is. */\nexport class \
                    C {\n  d = a;\n}\n";
        let module = Module::read("elements/c.js", text).unwrap();
        let mut bundle = String::new();
        module.write("elements/c.js", &mut bundle);
        assert_eq!(
            bundle,
            "modules[\"elements/c.js\"] = (() => {\nconst { a } = modules[\"b.js\"];\nclass C {\n\
             d = a;\n}\nreturn { C };\n})();\n"
        );
    }

    #[test]
    fn a_form_that_is_not_known_is_an_error() {
        for text in ["import x from \"./x.js\";", "export default 1;", "import \"./x.js\";"] {
            assert!(Module::read("a.js", text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_resolved() {
        assert_eq!(resolve("elements/a.js", "../session.js"), "session.js");
        assert_eq!(resolve("elements/a.js", "./base.js"), "elements/base.js");
        assert_eq!(resolve("tandem.js", "./elements/a.js"), "elements/a.js");
    }
}
