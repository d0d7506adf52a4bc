//! The examples are one file each beside this one; this crate only gives them a place to build.
