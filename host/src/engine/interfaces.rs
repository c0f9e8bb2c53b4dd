//! What a component exports and imports, and whether this host can run it. SDKs of other languages link against all that
//! Spin has, whether the component uses it or not; so what Spin has and this host hasn't is no reason to refuse a component:
//! where it calls that, it traps. What Spin hasn't either is refused.

use wasmtime::Engine;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType};

/// The interface by which a component takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handler {
    /// `wasi:http/incoming-handler@0.2`: one request at a time, and one for each instance, as with Spin.
    Http02,
    /// `wasi:http/handler@0.3`.
    Http03,
}

/// The interfaces of a component.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interfaces {
    pub(super) handler: Handler,
    /// What it imports of Spin's interfaces that this host does not have.
    pub(super) absent: Vec<String>,
}

impl Interfaces {
    /// Reads them. The error names every import that neither Spin nor this host has; wasmtime would name the first only.
    pub(super) fn of(component: &Component, engine: &Engine) -> anyhow::Result<Self> {
        let component = component.component_type();
        let exports: Vec<_> = component.exports(engine).map(|(name, _)| name.to_owned()).collect();
        let imports: Vec<_> = component.imports(engine).map(|(name, _)| name.to_owned()).collect();
        Self::read(&exports, &imports)
    }

    fn read(exports: &[String], imports: &[String]) -> anyhow::Result<Self> {
        let Some(handler) = exports.iter().find_map(|name| handler(name)) else {
            let old = exports.iter().find(|name| is_handler_of_old(name));
            let found = old.map_or("no HTTP handler", String::as_str);
            anyhow::bail!(
                "it exports {found}, and this host runs components that export wasi:http/handler@0.3.0 or \
                 wasi:http/incoming-handler@0.2: build it with a newer SDK, or run the application with `spin up`"
            );
        };
        let (mut absent, mut unknown) = (Vec::new(), Vec::new());
        for name in imports.iter().filter(|name| name.contains('/') && !is_served(name)) {
            if is_of_spin(name) { absent.push(name.clone()) } else { unknown.push(name.as_str()) }
        }
        if !unknown.is_empty() {
            anyhow::bail!("it imports {}, which neither this host nor Spin has", unknown.join(", "));
        }
        Ok(Self { handler, absent })
    }
}

fn handler(export: &str) -> Option<Handler> {
    let (name, version) = export.split_once('@')?;
    match name {
        "wasi:http/incoming-handler" if is_release(version, "0.2.") => Some(Handler::Http02),
        "wasi:http/handler" if is_release(version, "0.3.") => Some(Handler::Http03),
        _ => None,
    }
}

/// Whether an export is a handler of an interface that Spin runs and this host does not.
fn is_handler_of_old(export: &str) -> bool {
    ["wasi:http/", "fermyon:spin/inbound-http", "spin:http/"].iter().any(|prefix| export.starts_with(prefix))
}

/// Whether a version belongs to a series, and is no draft of it (`0.3.0-rc-2026-03-15`).
fn is_release(version: &str, series: &str) -> bool {
    version.starts_with(series) && !version.contains('-')
}

/// Whether the linker has an interface.
fn is_served(import: &str) -> bool {
    const WASI: [&str; 7] =
        ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:http/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    match name {
        "spin:variables/variables" => is_release(version, "3."),
        "fermyon:spin/variables" => version == "2.0.0",
        name => {
            WASI.iter().any(|package| name.starts_with(package))
                && ["0.2.", "0.3."].iter().any(|series| is_release(version, series))
        }
    }
}

/// Whether an interface that this host does not have is one of those that Spin has.
fn is_of_spin(import: &str) -> bool {
    ["spin:", "fermyon:spin/", "wasi:"].iter().any(|namespace| import.starts_with(namespace))
}

/// Defines what a component imports of the absent interfaces: functions that trap, and say what was called.
pub(super) fn define_absent<T: 'static>(
    linker: &mut Linker<T>,
    component: &Component,
    absent: &[String],
) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        if let ComponentItem::ComponentInstance(instance) = import.ty
            && absent.iter().any(|absent| absent == name)
        {
            define_instance(&mut linker.instance(name)?, name, &instance, &engine)?;
        }
    }
    Ok(())
}

fn define_instance<T: 'static>(
    linker: &mut LinkerInstance<'_, T>,
    interface: &str,
    instance: &ComponentInstance,
    engine: &Engine,
) -> wasmtime::Result<()> {
    for (name, export) in instance.exports(engine) {
        let called = format!("it called {interface}#{name}, which this host does not have");
        match export.ty {
            ComponentItem::ComponentFunc(function) if function.async_() => {
                linker.func_new_concurrent(name, move |_, _, _, _| {
                    let called = called.clone();
                    Box::pin(async move { Err(wasmtime::Error::msg(called)) })
                })?;
            }
            ComponentItem::ComponentFunc(_) => {
                linker.func_new(name, move |_, _, _, _| Err(wasmtime::Error::msg(called.clone())))?;
            }
            ComponentItem::Resource(_) => linker.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(exports: &[&str], imports: &[&str]) -> Result<Interfaces, String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        Interfaces::read(&owned(exports), &owned(imports)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_spin_runs_is_run() {
        let absent =
            ["fermyon:spin/sqlite@2.0.0", "wasi:keyvalue/store@0.2.0-draft2", "wasi:cli/exit@0.3.0-rc-2026-03-15"];
        let here = [
            "wasi:http/outgoing-handler@0.2.9",
            "wasi:sockets/tcp@0.2.6",
            "spin:variables/variables@3.0.0",
            "fermyon:spin/variables@2.0.0",
        ];
        for (export, handler) in [
            ("wasi:http/handler@0.3.0", Handler::Http03),
            ("wasi:http/incoming-handler@0.2.0", Handler::Http02),
            ("wasi:http/incoming-handler@0.2.9", Handler::Http02),
        ] {
            let expected = Interfaces { handler, absent: absent.map(str::to_owned).to_vec() };
            assert_eq!(read(&[export], &[here.as_slice(), &absent].concat()), Ok(expected));
        }
    }

    #[test]
    fn what_spin_does_not_run_is_refused_with_every_name() {
        let error =
            read(&["wasi:http/handler@0.3.0"], &["acme:a/b@1.0.0", "acme:c/d", "fermyon:spin/llm@2.0.0"]).unwrap_err();
        assert!(error.contains("acme:a/b@1.0.0, acme:c/d, which neither"), "{error}");
    }

    #[test]
    fn a_handler_of_before_is_named() {
        for old in [
            "wasi:http/handler@0.3.0-rc-2026-03-15",
            "wasi:http/incoming-handler@0.2.0-rc-2023-11-10",
            "fermyon:spin/inbound-http",
        ] {
            let error = read(&[old], &[]).unwrap_err();
            assert!(error.contains(&format!("it exports {old}, ")), "{error}");
        }
        assert!(read(&["wasi:cli/run@0.2.0"], &[]).unwrap_err().contains("it exports no HTTP handler"));
    }
}
