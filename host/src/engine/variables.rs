//! `spin:variables`, the interface that spin-sdk 7 imports: a component reads its variables.

use wasmtime::component::{Accessor, HasData, Linker};

use self::spin::variables::variables::{self, Error};
use super::instance::{ComponentContext, InstanceState};
use crate::variables::Missing;

wasmtime::component::bindgen!({
    inline: "
        package spin:variables@3.0.0;

        interface variables {
            get: async func(name: string) -> result<string, error>;

            variant error {
                invalid-name(string),
                undefined(string),
                provider(string),
                other(string),
            }
        }

        world imports {
            import variables;
        }
    ",
});

/// Finds a component's variables in the state of an instance.
struct View;

impl HasData for View {
    type Data<'a> = &'a ComponentContext;
}

impl variables::Host for &ComponentContext {}

impl<T: Send> variables::HostWithStore<T> for View {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, Error> {
        accessor.with(|mut store| store.get().variables.get(&name)).map_err(|missing| match missing {
            Missing::InvalidName(name) => Error::InvalidName(name),
            Missing::Undefined(name) => Error::Undefined(name),
        })
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    variables::add_to_linker::<_, View>(linker, |state| &state.context)
}
