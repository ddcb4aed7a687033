//! Libraries of NVIDIA's that are opened when something first needs them, and tables of their functions.
//!
//! A library that is missing, or lacks a function, is a sentence that says so; nothing here panics.

use std::ffi::c_void;

use crate::driver;

/// What a library calls its state.
pub(crate) type Handle = *mut c_void;

/// A library that stays open as long as the process.
pub(crate) struct Library {
    open: libloading::Library,
    name: &'static str,
}

impl Library {
    /// Opens `name`, and before it what it needs, in that order. Folders are as [`driver::folders`] says, then
    /// the loader's own. `package` is what brings it.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub fn open(
        needs: &[&str],
        name: &'static str,
        package: &str,
    ) -> std::result::Result<Library, String> {
        driver::preload(needs);
        driver::preload(&[name]);
        // SAFETY: opening a library of NVIDIA's runs its constructors only.
        match unsafe { libloading::Library::new(name) } {
            Ok(open) => Ok(Library { open, name }),
            Err(error) => Err(format!("{name} is missing (pip install {package}): {error}")),
        }
    }

    /// The address of a function.
    ///
    /// # Errors
    /// A sentence that names the function.
    ///
    /// # Safety
    /// `F` must be the function's type, and not be used after the library is closed.
    pub unsafe fn function<F: Copy>(&self, symbol: &str) -> std::result::Result<F, String> {
        // SAFETY: the caller's promise.
        let found = unsafe { self.open.get::<F>(symbol) };
        found.map(|f| *f).map_err(|_| format!("{} has no {symbol}", self.name))
    }

    /// Keeps the library open until the process ends.
    pub fn keep(self) {
        std::mem::forget(self.open);
    }
}

/// Declares a struct of a library's functions, found by their symbols: those of one form, and after `each`
/// those that exist for `float`, `double` and single-precision complex numbers, in this order. All of them
/// return a code that is 0 where all is well.
macro_rules! functions {
    (
        $(#[$meta:meta])*
        $table:ident {
            $($name:ident: $symbol:literal ($($argument:ty),* $(,)?);)*
        } each {
            $($names:ident: $symbols:expr => ($($each:ty),* $(,)?);)*
        }
    ) => {
        $(#[$meta])*
        struct $table {
            $($name: unsafe extern "C" fn($($argument),*) -> std::ffi::c_int,)*
            $($names: [unsafe extern "C" fn($($each),*) -> std::ffi::c_int; 3],)*
        }

        impl $table {
            fn find(library: crate::library::Library) -> std::result::Result<$table, String> {
                // SAFETY: the declarations are those of the library's header for CUDA 13, and the
                // library stays open.
                let table = unsafe {
                    $table {
                        $($name: library.function($symbol)?,)*
                        $($names: {
                            let [single, double, complex]: [&str; 3] = $symbols;
                            [
                                library.function(single)?,
                                library.function(double)?,
                                library.function(complex)?,
                            ]
                        },)*
                    }
                };
                library.keep();
                Ok(table)
            }
        }
    };
}
pub(crate) use functions;
