//! Any text is judged: a config, or problems with their places.

use proptest::prelude::*;

use super::*;

/// What must hold for any text: no panic, and either a config or problems with places in the text.
fn judged(text: &str) -> Result<(), TestCaseError> {
    match Config::parse(text, "lb.toml") {
        Ok(config) => {
            prop_assert!(!config.interfaces.is_empty());
            prop_assert!(config.services.iter().all(|service| !service.backends.is_empty()));
        }
        Err(error) => {
            prop_assert!(!error.problems.is_empty());
            let lines = 1 + text.matches('\n').count();
            for problem in &error.problems {
                prop_assert!((1..=lines).contains(&problem.line), "{:?}", problem);
                prop_assert!(!problem.message.contains('\n'), "{:?}", problem);
            }
        }
    }
    Ok(())
}

/// A text that replaces a part of a valid file: noise, or something that TOML gives a meaning.
fn insertion() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,8}",
        prop::sample::select(vec![
            "",
            "\"",
            "'",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            ",",
            ".",
            "\n",
            "#",
            "\\u0000",
            "0x",
            "-1",
            "1e400",
            "nan",
            "99999999999999999999999999999999999999999",
            "true",
            "1979-05-27",
            "[[service]]\n",
            "[service.keepalive]\n",
            "[[service.backend]]\n",
            "name = \"csta\"\n",
            "\"::1\"",
            "\"2001:db8::1\"",
            "\"[2001:db8::1]:5060\"",
            "\"fe80::1%eth0\"",
            "\"full-nat\"",
            "[\"192.0.2.10\", \"2001:db8::10\"]",
            "\"65535-0\"",
            "admin_group = ",
            "syslog = \"unix://\"\n",
            "\"500ms\"",
            "[{}]",
            "1_000_000_000_000",
            "\"\"\"",
            "\u{feff}",
            "\r",
            "\u{0}",
        ])
        .prop_map(str::to_owned),
    ]
}

/// A valid file, and every one that is known to be wrong.
fn corpus() -> Vec<String> {
    let wrong = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wrong-configs");
    let mut paths: Vec<_> = std::fs::read_dir(wrong)
        .and_then(|files| files.map(|file| file.map(|file| file.path())).collect())
        .expect("the directory of wrong files");
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    // A failure is repeated by its place in the list.
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).expect("a file of text"));
    std::iter::once(EXAMPLE.to_owned()).chain(texts).collect()
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,400}") {
        judged(&text)?;
    }

    #[test]
    fn no_mutation_of_a_file_panics(
        file in prop_oneof![Just(EXAMPLE.to_owned()), prop::sample::select(corpus())],
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, insertion()), 1..5),
    ) {
        let mut text: Vec<char> = file.chars().collect();
        for (place, length, insertion) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, insertion.chars());
        }
        judged(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn no_order_of_the_lines_panics(lines in Just(EXAMPLE.lines().collect::<Vec<_>>()).prop_shuffle()) {
        judged(&lines.join("\n"))?;
    }
}
