//! `#[derive(Tree)]` on the shapes of structs that there are.

use lazulite_core::Array;
use lazulite_core::transform::Tree as _;
use lazulite_derive::Tree;

#[derive(Clone, Tree)]
#[tree(crate = lazulite_core)]
struct Linear {
    weight: Array,
    bias: Option<Array>,
    #[tree(skip)]
    name: String,
}

#[derive(Tree)]
#[tree(crate = lazulite_core)]
struct Pair<T, const N: usize>([T; N], Vec<T>);

#[derive(Tree)]
#[tree(crate = lazulite_core)]
struct Nothing;

fn linear(bias: bool, name: &str) -> Linear {
    let bias = bias.then(|| Array::scalar(2.0f32));
    Linear { weight: Array::scalar(1.0f32), bias, name: name.to_string() }
}

#[test]
fn arrays_come_in_the_order_of_the_fields() {
    let tree = Pair([linear(true, "a")], vec![linear(false, "b"), linear(true, "c")]);
    let mut names = Vec::new();
    tree.names("model", &mut names);
    assert_eq!(
        names,
        [
            "model.0.0.weight",
            "model.0.0.bias",
            "model.1.0.weight",
            "model.1.1.weight",
            "model.1.1.bias"
        ]
    );
    assert_eq!(tree.leaves().len(), names.len());
    assert!(Nothing.leaves().is_empty());
}

#[test]
fn rebuilding_keeps_the_form_and_the_skipped_fields() {
    let tree = linear(true, "layer");
    let (x, y) = (Array::scalar(3u8), Array::scalar(4u8));
    let other = tree.with_leaves(vec![x.clone(), y.clone()]).unwrap();
    assert!(other.weight.same(&x) && other.bias.as_ref().unwrap().same(&y));
    assert_eq!(other.name, "layer");
    assert!(tree.with_leaves(vec![x.clone()]).is_err());
    assert!(tree.with_leaves(vec![x.clone(), y, x]).is_err());
}

#[test]
fn forms_differ_by_structure_and_by_skipped_fields() {
    assert!(linear(true, "a").same_form(&linear(true, "a")));
    assert!(!linear(true, "a").same_form(&linear(false, "a")));
    assert!(!linear(true, "a").same_form(&linear(true, "b")));
    assert!(Nothing.same_form(&Nothing));
}
