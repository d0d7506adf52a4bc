//! Closed lists of words, as one table each.

/// The words of a closed list, and which one a field holds.
macro_rules! words {
    ($function:ident, $type:ident: $($word:literal => $variant:ident),+ $(,)?) => {
        fn $function(f: &mut super::Fields, name: &'static str) -> $type {
            const WORDS: &[&str] = &[$($word),+];
            const VALUES: &[$type] = &[$($type::$variant),+];
            VALUES[f.place(name, WORDS)]
        }
    };
}
