//! What `weir --version` tells about this build. Nothing of it is needed: without git or in an archive it says so.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=WEIR_COMMIT");
    // The log of HEAD grows with each commit and each change of branch.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) =
            output("git", &["rev-parse", "--git-path", file]).filter(|path| std::path::Path::new(path).exists())
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    let commit = std::env::var("WEIR_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = commit.or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]));
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let unknown = || "unknown".to_owned();
    println!("cargo:rustc-env=WEIR_BUILD_COMMIT={}", commit.unwrap_or_else(unknown));
    println!(
        "cargo:rustc-env=WEIR_BUILD_RUSTC={}",
        output(&rustc, &["--version"]).unwrap_or_else(unknown)
    );
    for name in ["TARGET", "PROFILE"] {
        println!(
            "cargo:rustc-env=WEIR_BUILD_{name}={}",
            std::env::var(name).unwrap_or_else(|_| unknown())
        );
    }
}

/// The first line that a command prints.
fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
