//! Kernels of the user's on the processor, and the errors of those that cannot run there.

use lazulite::kernel::{self, CudaCode, CudaSource, CudaText};
use lazulite::prelude::*;
use lazulite::{custom_function, grad, vmap};

/// `[first, rest...]` rotated left by one along the rows, and the sum of all, from one kernel.
fn rotate_and_sum(x: &Array) -> Result<Vec<Array>> {
    let shape = x.shape().to_vec();
    let outputs: [(&[usize], Dtype); 2] = [(&shape, Dtype::F32), (&[], Dtype::F64)];
    kernel::host("rotate", std::slice::from_ref(x), &outputs, move |x, y| {
        let columns = x[0].shape()[1];
        let x = x[0].as_slice::<f32>()?;
        let [rotated, sum] = y else { return Ok(()) };
        for (to, from) in rotated.as_mut_slice::<f32>()?.chunks_mut(columns).zip(x.chunks(columns))
        {
            to.copy_from_slice(from);
            to.rotate_left(1);
        }
        sum.as_mut_slice::<f64>()?[0] = x.iter().copied().map(f64::from).sum();
        Ok(())
    })
}

#[test]
fn several_outputs_of_any_layout() -> Result<()> {
    let x = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]; f32];
    let cases = [
        (x.clone(), vec![2.0, 3.0, 1.0, 5.0, 6.0, 4.0]),
        (x.transpose(None)?, vec![4.0, 1.0, 5.0, 2.0, 6.0, 3.0]),
        (x.slice(&[0, 1], &[2, 3], &[1, 1])?, vec![3.0, 2.0, 6.0, 5.0]),
        (Array::full(&[1, 2], Literal::new(7f32))?, vec![7.0, 7.0]),
    ];
    for (x, want) in cases {
        let made = rotate_and_sum(&x)?;
        assert_eq!(made[0].to_vec::<f32>()?, want);
        assert_eq!(made[1].item::<f64>()?, want.iter().copied().map(f64::from).sum::<f64>());
        // What comes after it may be fused with other steps, and is not disturbed by them.
        let after = (&rotate_and_sum(&x)?[0] * 2.0 + 1.0).sum(None, false)?;
        let sum: f32 = want.iter().map(|x| 2.0 * x + 1.0).sum();
        assert_eq!(after.item::<f32>()?, sum);
    }
    Ok(())
}

#[test]
fn derivatives_come_from_custom_function() -> Result<()> {
    let square = |x: &Array| -> Result<Array> {
        let made =
            kernel::host("square", std::slice::from_ref(x), &[(x.shape(), Dtype::F32)], |x, y| {
                let x = x[0].as_slice::<f32>()?;
                y[0].as_mut_slice::<f32>()?.iter_mut().zip(x).for_each(|(y, x)| *y = x * x);
                Ok(())
            })?;
        Ok(made[0].clone())
    };
    let x = array![3.0, -1.0; f32];
    let error = grad(|x: Array| square(&x)?.sum(None, false))(x.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("square has no vjp"), "{error}");
    let f = custom_function(move |x: Array| square(&x))
        .with_vjp(|x: &Array, _y: &Array, ct: &Array| Ok(x * 2.0 * ct));
    let d = grad(|x: Array| f.call(x)?.sum(None, false))(x)?;
    assert_eq!(d.to_vec::<f32>()?, [6.0, -2.0]);
    let rows = array![[1.0, 2.0], [3.0, 4.0]; f32];
    let all = vmap(|x: Array| f.call(x), Some(0), 0)(rows)?;
    assert_eq!(all.to_vec::<f32>()?, [1.0, 4.0, 9.0, 16.0]);
    Ok(())
}

#[test]
fn what_goes_wrong_is_an_error_of_evaluation() -> Result<()> {
    let x = array![1.0; f32];
    let out: [(&[usize], Dtype); 1] = [(&[1], Dtype::F32)];
    let inputs = std::slice::from_ref(&x);
    let cuda = |x: &Array| {
        let source = CudaSource {
            body: "y[0] = x[0];".into(),
            header: String::new(),
            inputs: vec!["x".into()],
            outputs: vec!["y".into()],
            template: Vec::new(),
        };
        let text = CudaText::Source(source);
        let code =
            CudaCode { text, grid: [1; 3], block: [1; 3], shared: 0, init: None, contiguous: true };
        with_stream(Stream::default_of(Device::CPU), || {
            kernel::cuda("copy", std::slice::from_ref(x), &[(&[1], Dtype::F32)], code)
        })
    };
    let refuses = |_: &[kernel::HostInput<'_>], _: &mut [kernel::HostOutput<'_>]| {
        Err(Error::argument("user", "no"))
    };
    let other = |x: &[kernel::HostInput<'_>], _: &mut [kernel::HostOutput<'_>]| {
        x[0].as_slice::<f64>().map(|_| ())
    };
    let panics = |x: &[kernel::HostInput<'_>], _: &mut [kernel::HostOutput<'_>]| {
        let slice = x[0].as_slice::<f32>()?;
        assert!(slice.len() > 1, "a test's panic");
        Ok(())
    };
    let cases = [
        (kernel::host("refuses", inputs, &out, refuses)?, ErrorKind::Argument, "refuses: no"),
        (kernel::host("other", inputs, &out, other)?, ErrorKind::Dtype, "other: got float32"),
        (kernel::host("panics", inputs, &out, panics)?, ErrorKind::Kernel, "panics panicked"),
        (cuda(&x)?, ErrorKind::BackendUnavailable, "copy is CUDA code"),
    ];
    for (made, kind, text) in cases {
        let error = made[0].eval().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(kernel::host("nothing", inputs, &[], |_, _| Ok(())).is_err());
    Ok(())
}
