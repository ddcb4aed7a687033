//! Indexing and shaping: values as NumPy has them, and faults named at the call.

use lazulite::op::index::Index;
use lazulite::op::join::PadMode;
use lazulite::op::scatter::UpdateMode;
use lazulite::prelude::*;
use lazulite::{Category, Result, s};

fn grid() -> Result<Array> {
    Array::from_slice(&(0..24).collect::<Vec<i32>>(), &[2, 3, 4])
}

fn list(values: &[i32]) -> Array {
    Array::from_slice(values, &[values.len()]).expect("makes a list")
}

#[track_caller]
fn check(got: Result<Array>, shape: &[usize], want: &[i32]) {
    let got = got.expect("indexes");
    assert_eq!(got.shape(), shape);
    assert_eq!(got.to_vec::<i32>().expect("evaluates"), want);
}

#[test]
fn reading_follows_numpy() -> Result<()> {
    let x = grid()?;
    check(x.index(&s![1, 2, 3]), &[], &[23]);
    check(x.index(&s![-1, 0]), &[4], &[12, 13, 14, 15]);
    check(x.index(&s![Index::Ellipsis, 0]), &[2, 3], &[0, 4, 8, 12, 16, 20]);
    check(x.index(&s![0, Index::NewAxis, 1.., 2]), &[1, 2], &[6, 10]);
    check(x.index(&s![0, 0, Index::from(..).by(-2)]), &[2], &[3, 1]);
    check(x.index(&s![0, 0, 1..=2]), &[2], &[1, 2]);
    check(x.index(&s![0, 0, ..-2]), &[2], &[0, 1]);
    check(x.index(&s![0, 0, 3..1]), &[0], &[]);
    check(x.index(&s![.., list(&[2, -3]), 0]), &[2, 2], &[8, 0, 20, 12]);
    // An integer beside an index array counts as one; apart, their axes come first.
    check(x.index(&s![0, .., list(&[1, 2])]), &[2, 3], &[1, 5, 9, 2, 6, 10]);
    check(x.index(&s![list(&[1, 0]), list(&[0, 2])]), &[2, 4], &[12, 13, 14, 15, 8, 9, 10, 11]);
    let mask = Array::from_slice(&[true, false, false, false, true, false], &[2, 3])?;
    check(x.index(&s![&mask]), &[2, 4], &[0, 1, 2, 3, 16, 17, 18, 19]);
    let even = x.remainder(&Array::scalar(8i32))?.equal(&Array::scalar(0i32))?;
    check(x.index(&s![&even]), &[3], &[0, 8, 16]);
    Ok(())
}

#[test]
fn updates_follow_numpy() -> Result<()> {
    let x = list(&[0, 1, 2, 3, 4]);
    let v = |i: i32| Array::scalar(i);
    let update = |i: &[Index], v: &Array, mode| x.index_update(i, v, mode);
    check(update(&s![1..3], &v(9), UpdateMode::Set), &[5], &[0, 9, 9, 3, 4]);
    check(update(&s![-1], &v(9), UpdateMode::Set), &[5], &[0, 1, 2, 3, 9]);
    check(update(&s![list(&[1, 1, 3])], &v(5), UpdateMode::Add), &[5], &[0, 11, 2, 8, 4]);
    check(update(&s![list(&[1, 1])], &list(&[7, 8]), UpdateMode::Set), &[5], &[0, 8, 2, 3, 4]);
    let mask = x.greater(&v(2))?;
    check(update(&s![&mask], &v(0), UpdateMode::Set), &[5], &[0, 1, 2, 0, 0]);
    check(update(&s![&mask], &list(&[6, 7]), UpdateMode::Set), &[5], &[0, 1, 2, 6, 7]);
    check(update(&s![&mask], &v(10), UpdateMode::Multiply), &[5], &[0, 1, 2, 30, 40]);
    let g = grid()?.index_update(&s![0, .., list(&[1, 3])], &v(-1), UpdateMode::Set)?;
    check(g.index(&s![0, 1]), &[4], &[4, -1, 6, -1]);
    check(g.index(&s![1, 1]), &[4], &[16, 17, 18, 19]);
    Ok(())
}

#[test]
fn faults_are_named_at_the_call() -> Result<()> {
    let x = grid()?;
    let text = |i: &[Index]| x.index(i).expect_err("out of range").to_string();
    assert_eq!(
        text(&s![0, 3]),
        "index: index 3 is out of range for axis 1 of size 3; valid indices are -3 to 2"
    );
    assert_eq!(text(&s![0, 0, 0, 0]), "index: 4 indices for 3 axes of (2, 3, 4)");
    assert_eq!(text(&s![Index::from(..).by(0)]), "slice: the step is 0");
    // Places in an array are checked when they are read.
    let late = x.take(&list(&[0, 3]), Some(1))?;
    assert_eq!(late.eval().expect_err("out of range").kind(), ErrorKind::Axis);
    Ok(())
}

#[test]
fn shaping_follows_mlx() -> Result<()> {
    let x = list(&[1, 2, 3]);
    check(x.tile(&[2]), &[6], &[1, 2, 3, 1, 2, 3]);
    check(x.repeat(2, None), &[6], &[1, 1, 2, 2, 3, 3]);
    check(x.roll(&[1], None), &[3], &[3, 1, 2]);
    check(x.pad(&[(1, 2)], &PadMode::Symmetric), &[6], &[1, 1, 2, 3, 3, 2]);
    check(x.pad(&[(1, 2)], &PadMode::Reflect), &[6], &[2, 1, 2, 3, 2, 1]);
    check(x.pad(&[(2, 1)], &PadMode::Edge), &[6], &[1, 1, 1, 2, 3, 3]);
    check(x.diag(1), &[4, 4], &[0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
    check(x.diag(0)?.diag(0), &[3], &[1, 2, 3]);
    check(Array::tri(2, 3, 0, Dtype::I32), &[2, 3], &[1, 0, 0, 1, 1, 0]);
    check(grid()?.index(&s![0])?.triu(1), &[3, 4], &[0, 1, 2, 3, 0, 0, 6, 7, 0, 0, 0, 11]);
    check(grid()?.trace(0, 1, 2, None), &[2], &[15, 51]);
    check(x.kron(&list(&[1, 10])), &[6], &[1, 10, 2, 20, 3, 30]);
    check(list(&[3, 1, 2]).sort(None), &[3], &[1, 2, 3]);
    check(list(&[5, 1, 4, 2]).topk(2, None)?.sort(None), &[2], &[4, 5]);
    check(Array::arange(5.0, 0.0, -2.0, None, Category::SignedInteger), &[3], &[5, 3, 1]);
    let even = Array::linspace(0.0, 1.0, 5, Dtype::F32)?.to_vec::<f32>()?;
    assert_eq!(even, [0.0, 0.25, 0.5, 0.75, 1.0]);
    let parts = list(&[0, 1, 2, 3, 4]).split_at(&[1, 3], 0)?;
    assert_eq!(parts.iter().map(Array::len).collect::<Vec<_>>(), [1, 2, 2]);
    let rounded = Array::from_slice(&[1.25f32, -2.5, 0.125], &[3])?.round(1)?.to_vec::<f32>()?;
    assert_eq!(rounded, [1.2, -2.5, 0.1]);
    Ok(())
}
