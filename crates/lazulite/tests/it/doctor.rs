//! Planted waste is found on its line, and a clean program is left alone. Other tests run
//! meanwhile; only findings in this file count.

use lazulite::doctor::{self, Finding, Waste};
use lazulite::observe::What;
use lazulite::op::index::Index;
use lazulite::prelude::*;
use lazulite::scatter::UpdateMode;
use lazulite::{Dtype, compile, eval};

fn visit(program: impl FnOnce() -> Result<u32>) -> Result<(Vec<Finding>, u32, doctor::Report)> {
    let visit = doctor::begin();
    let line = program()?;
    let report = visit.finish();
    let here = |f: &&Finding| f.place.as_ref().is_some_and(|p| &*p.file == file!());
    Ok((report.findings.iter().filter(here).cloned().collect(), line, report))
}

/// Runs the program, which returns the wasteful line, and asks for that finding.
fn planted(waste: Waste, program: impl FnOnce() -> Result<u32>) -> Result<()> {
    let (found, line, report) = visit(program)?;
    let hit =
        found.iter().find(|f| f.waste == waste && f.place.as_ref().is_some_and(|p| p.line == line));
    let hit = hit.unwrap_or_else(|| panic!("{waste:?} at line {line} is not among:\n{report}"));
    assert!(hit.seconds > 0.0 && hit.times > 0, "{hit}");
    Ok(())
}

#[test]
fn evaluations_in_a_loop() -> Result<()> {
    let x = Array::zeros(&[64, 16], Dtype::F32)?;
    x.eval()?;
    planted(Waste::EvaluationsInLoop, || {
        for i in 0..64 {
            let y = (x.at(i)? * 2.0).sum(None, false)?;
            y.eval()?;
        }
        Ok(line!() - 2)
    })
}

#[test]
fn reads_in_a_loop() -> Result<()> {
    let x = Array::zeros(&[64, 16], Dtype::F32)?;
    x.eval()?;
    planted(Waste::ReadsInLoop, || {
        let mut total = 0.0;
        for i in 0..64 {
            total += x.at(i)?.sum(None, false)?.item::<f32>()?;
        }
        assert_eq!(total, 0.0);
        Ok(line!() - 3)
    })
}

#[test]
fn recompilation() -> Result<()> {
    planted(Waste::Recompilation, || {
        let f = compile(|x: Array| (x * 2.0).sin()?.sum(None, false));
        let made = line!() - 1;
        for n in 1..40 {
            f(Array::zeros(&[n], Dtype::F32)?)?.eval()?;
        }
        Ok(made)
    })
}

#[test]
fn promotion_by_one_operand() -> Result<()> {
    let x = Array::zeros(&[1 << 18], Dtype::F16)?;
    let w = Array::ones(&[1 << 18], Dtype::F32)?;
    eval::eval(&[x.clone(), w.clone()])?;
    planted(Waste::Promotion, || {
        let y = &x * &w;
        let line = line!() - 1;
        y.eval()?;
        Ok(line)
    })
}

#[test]
fn host_copies_in_a_loop() -> Result<()> {
    let row = vec![1.0f32; 4096];
    planted(Waste::HostCopies, || {
        let mut rows = Vec::new();
        for _ in 0..64 {
            rows.push(Array::from_slice(&row, &[4096])?);
        }
        let line = line!() - 2;
        Array::stack(&rows, 0)?.eval()?;
        Ok(line)
    })
}

#[test]
fn an_unbatched_loop() -> Result<()> {
    // Updates by index are among the ops that the planner does not batch by itself.
    let (x, place) = (Array::ones(&[64, 16], Dtype::F32)?, Array::from_slice(&[3i32], &[1])?);
    x.eval()?;
    planted(Waste::UnbatchedLoop, || {
        let update = |i| {
            x.at(i)?.index_update(
                &[Index::Array(place.clone())],
                &Array::scalar(2.0f32),
                UpdateMode::Add,
            )
        };
        let all = (0..64).map(update).collect::<Result<Vec<_>>>()?;
        eval::eval(&all)?;
        Ok(line!() - 1)
    })
}

/// Programs in which one small step runs often, though never on items of one thing.
#[test]
fn layers_and_their_updates_are_no_loop_over_items() -> Result<()> {
    let layers: Vec<Array> =
        (0..64).map(|_| Ok(Array::ones(&[8, 8], Dtype::F32)? * 0.01)).collect::<Result<_>>()?;
    let slopes: Vec<Array> = layers.iter().map(Array::ones_like).collect::<Result<_>>()?;
    let x = Array::ones(&[1, 8], Dtype::F32)?;
    eval::eval(&[&layers[..], &slopes, std::slice::from_ref(&x)].concat())?;
    let rate = Array::scalar(0.1f32);
    let programs: [&dyn Fn() -> Result<()>; 2] =
        [&|| layers.iter().try_fold(x.clone(), |y, w| y.matmul(w)?.tanh())?.eval(), &|| {
            let new = layers.iter().zip(&slopes).map(|(w, g)| w - g * &rate);
            eval::eval(&new.collect::<Vec<_>>())
        }];
    for program in programs {
        let (found, _, report) = visit(|| (0..3).try_for_each(|_| program()).map(|()| 0))?;
        assert!(found.iter().all(|f| f.waste != Waste::UnbatchedLoop), "{report}");
        let steps = report.records.iter().filter(|r| matches!(r.what, What::Step { .. })).count();
        assert!(steps >= 3 * 64, "{steps} steps");
    }
    Ok(())
}

#[test]
fn all_time_is_accounted_for() -> Result<()> {
    let (_, _, report) = visit(|| {
        let x = Array::ones(&[256, 256], Dtype::F32)?;
        (0..20).try_for_each(|_| x.matmul(&x)?.eval())?;
        Ok(0)
    })?;
    let t = &report.time;
    let sum = t.steps + t.moving + t.tracing + t.evaluating + t.program;
    assert!((sum - report.seconds).abs() < 1e-6 * report.seconds.max(1.0), "{report}");
    assert!(t.steps > 0.0, "{report}");
    Ok(())
}

#[test]
fn a_clean_program_is_left_alone() -> Result<()> {
    let (mut w, x) = (Array::ones(&[512, 512], Dtype::F32)?, Array::ones(&[512, 512], Dtype::F32)?);
    eval::eval(&[w.clone(), x.clone()])?;
    let (found, _, report) = visit(|| {
        for _ in 0..6 {
            w = (w.matmul(&x)? * 1e-3).tanh()?;
        }
        w.eval()?;
        Ok(0)
    })?;
    assert!(found.is_empty(), "{report}");
    Ok(())
}

#[test]
fn traces_have_rows_for_threads_and_streams() -> Result<()> {
    let (_, _, report) = visit(|| {
        Array::ones(&[100], Dtype::F32)?.sin()?.eval()?;
        Ok(0)
    })?;
    let trace = report.chrome_trace();
    for part in ["\"traceEvents\"", "host thread", "Stream(Device(cpu, 0), 0)", "\"ph\": \"X\""] {
        assert!(trace.contains(part), "{part} is not in\n{trace}");
    }
    Ok(())
}
