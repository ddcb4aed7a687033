//! Derive macros for lazulite.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, Index, Member, parse_macro_input, spanned::Spanned};

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
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(input.span(), "Tree can be derived for structs only"));
    };
    let krate = crate_path(input)?;
    let tree = quote!(#krate::transform::Tree);
    let array = quote!(#krate::Array);
    let (mut flatten, mut rebuild, mut same, mut names) = (vec![], vec![], vec![], vec![]);
    let (mut tree_types, mut skip_types) = (vec![], vec![]);
    for (i, field) in data.fields.iter().enumerate() {
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(Index::from(i)),
        };
        let ty = &field.ty;
        if is_skipped(field)? {
            skip_types.push(ty);
            rebuild.push(quote!(#member: ::core::clone::Clone::clone(&self.#member)));
            same.push(quote!(self.#member == other.#member));
            continue;
        }
        let label = match &member {
            Member::Named(ident) => format!("{{}}.{ident}"),
            Member::Unnamed(index) => format!("{{}}.{}", index.index),
        };
        tree_types.push(ty);
        flatten.push(quote!(#tree::flatten(&self.#member, leaves);));
        rebuild.push(quote!(#member: #tree::rebuild(&self.#member, leaves)?));
        same.push(quote!(#tree::same_form(&self.#member, &other.#member)));
        names.push(quote!(#tree::names(&self.#member, &::std::format!(#label, prefix), names);));
    }
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let mut bounds = where_clause.cloned().unwrap_or_else(|| syn::WhereClause {
        where_token: Default::default(),
        predicates: Default::default(),
    });
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
    let self_construct = match data.fields {
        Fields::Unit => quote!(Self),
        _ => quote!(Self { #(#rebuild),* }),
    };
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

/// The crate that has the trait.
fn crate_path(input: &DeriveInput) -> syn::Result<TokenStream> {
    let mut path = quote!(::lazulite);
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("tree")) {
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

/// True iff the field is marked `#[tree(skip)]`.
fn is_skipped(field: &syn::Field) -> syn::Result<bool> {
    let mut skipped = false;
    for attribute in field.attrs.iter().filter(|a| a.path().is_ident("tree")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("skip") {
                return Err(meta.error("expected `skip`"));
            }
            skipped = true;
            Ok(())
        })?;
    }
    Ok(skipped)
}
