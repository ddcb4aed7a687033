//! Derive macros for lazulite.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Field, Member, parse_macro_input};

/// Makes a struct a tree of its fields, which must be trees themselves.
///
/// A field marked `#[tree(skip)]` is carried along: it must be `Clone` and `PartialEq`, and a
/// compiled function is traced again when it changes. `#[tree(crate = path)]` on the struct names
/// the crate that has `transform::Tree`, if it is not `::lazulite`.
///
/// ```text
/// #[derive(Tree)]
/// struct Linear {
///     weight: Array,
///     bias: Option<Array>,
///     #[tree(skip)]
///     name: String,
/// }
/// ```
#[proc_macro_derive(Tree, attributes(tree))]
pub fn derive_tree(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input, "tree").unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a struct a module of `lazulite::nn`, and a tree. Its fields must be modules (parameters,
/// layers, and `Vec`, `Option`, `Box`, arrays and maps of them), each of which adds its name to the
/// paths of its parameters.
///
/// A field marked `#[module(skip)]` is carried along: it must be `Clone` and `PartialEq`, and a
/// compiled function is traced again when it changes. A field marked `#[module(flatten)]` adds no
/// name, one marked `#[module(rename = "name")]` another one. `#[module(crate = path)]` on the struct names the crate that has `nn::Module`, if it is
/// not `::lazulite`.
///
/// ```text
/// #[derive(Clone, Module)]
/// struct Mlp {
///     hidden: Linear,
///     out: Linear,
///     #[module(skip)]
///     classes: usize,
/// }
/// ```
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let both = expand(&input, "module").and_then(|tree| {
        let module = expand_module(&input)?;
        Ok(quote!(#tree #module))
    });
    both.unwrap_or_else(|error| error.to_compile_error()).into()
}

/// The `Tree` of a struct whose fields are marked with `attribute`.
fn expand(input: &DeriveInput, attribute: &str) -> syn::Result<TokenStream> {
    let krate = crate_path(input, attribute)?;
    let tree = quote!(#krate::transform::Tree);
    let array = quote!(#krate::Array);
    let (mut flatten, mut rebuild, mut same, mut names) = (vec![], vec![], vec![], vec![]);
    let (mut tree_types, mut skip_types) = (vec![], vec![]);
    for (member, field) in members(input)? {
        let ty = &field.ty;
        let marks = Marks::read(field, attribute)?;
        if marks.skip {
            skip_types.push(ty);
            rebuild.push(quote!(#member: ::core::clone::Clone::clone(&self.#member)));
            same.push(quote!(self.#member == other.#member));
            continue;
        }
        let label = marks.label(&member).map_or("{}".to_string(), |l| format!("{{}}.{l}"));
        tree_types.push(ty);
        flatten.push(quote!(#tree::flatten(&self.#member, leaves);));
        rebuild.push(quote!(#member: #tree::rebuild(&self.#member, leaves)?));
        same.push(quote!(#tree::same_form(&self.#member, &other.#member)));
        names.push(quote!(#tree::names(&self.#member, &::std::format!(#label, prefix), names);));
    }
    let name = &input.ident;
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    let mut bounds = own_bounds(input);
    // Bounds on types without parameters are checked where the macro is used, with its span.
    if !input.generics.params.is_empty() {
        for ty in tree_types {
            bounds.predicates.push(syn::parse_quote!(#ty: #tree));
        }
        for ty in skip_types {
            bounds
                .predicates
                .push(syn::parse_quote!(#ty: ::core::clone::Clone + ::core::cmp::PartialEq));
        }
    }
    let all_same = if same.is_empty() { quote!(true) } else { quote!(#(#same)&&*) };
    let self_construct = quote!(Self { #(#rebuild),* });
    let lifetime = syn::Lifetime::new("'tree", name.span());
    Ok(quote! {
        #[automatically_derived]
        #[allow(unused_variables, clippy::all)]
        impl #impl_generics #tree for #name #type_generics #bounds {
            fn flatten<#lifetime>(
                &#lifetime self,
                leaves: &mut ::std::vec::Vec<&#lifetime #array>,
            ) {
                #(#flatten)*
            }

            fn rebuild(
                &self,
                leaves: &mut dyn ::core::iter::Iterator<Item = #array>,
            ) -> #krate::Result<Self> {
                ::core::result::Result::Ok(#self_construct)
            }

            fn same_form(&self, other: &Self) -> bool {
                #all_same
            }

            fn names(&self, prefix: &str, names: &mut ::std::vec::Vec<::std::string::String>) {
                #(#names)*
            }
        }
    })
}

/// The `nn::Module` of a struct.
fn expand_module(input: &DeriveInput) -> syn::Result<TokenStream> {
    let krate = crate_path(input, "module")?;
    let nn = quote!(#krate::nn);
    let (mut visit, mut visit_mut, mut types) = (vec![], vec![], vec![]);
    for (member, field) in members(input)? {
        let marks = Marks::read(field, "module")?;
        if marks.skip {
            continue;
        }
        let path = match marks.label(&member) {
            Some(label) => quote!(&#nn::child(path, #label)),
            None => quote!(path),
        };
        types.push(&field.ty);
        visit.push(quote!(#nn::Module::visit(&self.#member, #path, f);));
        visit_mut.push(quote!(#nn::Module::visit_mut(&mut self.#member, #path, visitor)?;));
    }
    let name = &input.ident;
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    let mut bounds = own_bounds(input);
    if !input.generics.params.is_empty() {
        bounds
            .predicates
            .push(syn::parse_quote!(Self: ::core::clone::Clone + #krate::transform::Tree));
        for ty in types {
            bounds.predicates.push(syn::parse_quote!(#ty: #nn::Module));
        }
    }
    let lifetime = syn::Lifetime::new("'module", name.span());
    Ok(quote! {
        #[automatically_derived]
        #[allow(unused_variables, clippy::all)]
        impl #impl_generics #nn::Module for #name #type_generics #bounds {
            fn visit<#lifetime>(
                &#lifetime self,
                path: &str,
                f: &mut dyn ::core::ops::FnMut(&str, &#lifetime #nn::Param),
            ) {
                #(#visit)*
            }

            fn visit_mut(
                &mut self,
                path: &str,
                visitor: &mut dyn #nn::Visitor,
            ) -> #krate::Result<()> {
                #(#visit_mut)*
                ::core::result::Result::Ok(())
            }
        }
    })
}

/// The struct's fields with their names or places.
fn members(input: &DeriveInput) -> syn::Result<Vec<(Member, &Field)>> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(input.span(), "can be derived for structs only"));
    };
    Ok(data.fields.members().zip(&data.fields).collect())
}

/// The `where` clause that the struct has.
fn own_bounds(input: &DeriveInput) -> syn::WhereClause {
    input.generics.where_clause.clone().unwrap_or_else(|| syn::WhereClause {
        where_token: Default::default(),
        predicates: Default::default(),
    })
}

/// The crate that has the trait.
fn crate_path(input: &DeriveInput, attribute: &str) -> syn::Result<TokenStream> {
    let mut path = quote!(::lazulite);
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident(attribute)) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path`"));
            }
            let value: syn::Path = meta.value()?.parse()?;
            path = quote!(#value);
            Ok(())
        })?;
    }
    Ok(path)
}

/// How a field is marked.
#[derive(Default)]
struct Marks {
    /// It is carried along.
    skip: bool,
    /// It adds no name to paths.
    flatten: bool,
    /// Its name in paths, if not its own.
    rename: Option<String>,
}

impl Marks {
    fn read(field: &Field, attribute: &str) -> syn::Result<Marks> {
        let mut marks = Marks::default();
        // Only modules name their parameters, so only there can a name be another.
        let names = attribute == "module";
        for found in field.attrs.iter().filter(|a| a.path().is_ident(attribute)) {
            found.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    marks.skip = true;
                } else if names && meta.path.is_ident("flatten") {
                    marks.flatten = true;
                } else if names && meta.path.is_ident("rename") {
                    marks.rename = Some(meta.value()?.parse::<syn::LitStr>()?.value());
                } else {
                    let expected = if names { "`skip`, `flatten` or `rename`" } else { "`skip`" };
                    return Err(meta.error(format!("expected {expected}")));
                }
                Ok(())
            })?;
        }
        Ok(marks)
    }

    /// The name that the field adds to paths; `r#type` is `type`.
    fn label(self, member: &Member) -> Option<String> {
        let own = || match member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        (!self.flatten).then(|| self.rename.unwrap_or_else(own))
    }
}
