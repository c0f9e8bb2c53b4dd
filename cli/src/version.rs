//! `towpath --version`: what the program was built from. The form is that of `rustc --version --verbose`.

/// The version, and a line for each thing that it was built from.
pub(crate) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("TOWPATH_SOURCE"),
    "\ntarget: ",
    env!("TOWPATH_TARGET"),
    "\nrustc: ",
    env!("TOWPATH_COMPILER"),
);
