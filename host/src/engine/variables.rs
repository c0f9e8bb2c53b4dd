//! `spin:variables`, by which components read their variables, and `fermyon:spin/variables`, its form before WASI 0.3, which
//! SDKs of other languages import.

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

mod before {
    wasmtime::component::bindgen!({
        inline: "
            package fermyon:spin@2.0.0;

            interface variables {
                get: func(name: string) -> result<string, error>;

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
}

use before::fermyon::spin::variables as v2;

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

impl v2::Host for &ComponentContext {
    fn get(&mut self, name: String) -> Result<String, v2::Error> {
        self.variables.get(&name).map_err(|missing| match missing {
            Missing::InvalidName(name) => v2::Error::InvalidName(name),
            Missing::Undefined(name) => v2::Error::Undefined(name),
        })
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    variables::add_to_linker::<_, View>(linker, |state| &state.context)?;
    v2::add_to_linker::<_, View>(linker, |state| &state.context)
}
