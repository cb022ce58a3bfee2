//! Linear maps: `x·Wᵀ` with an optional bias and a residual that the GEMM adds on its register tile.

use upbeat_kernels::{Buffer, Element, Epilogue, Gemm, Mat, MatMut, ShapeError, Write};

use super::pass::{Pass, Step};
use super::{Op, Tape, Var};
use crate::tensor::{check, Shape};

pub(super) struct Linear {
    x: Var,
    weight: Var,
    bias: Option<Var>,
    residual: Option<Var>,
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl<E: Element> Tape<'_, E> {
    /// `x·weightᵀ + bias + residual`: `x` is `[…, inputs]`, `weight: [outputs, inputs]`, `bias: [outputs]`, the
    /// residual and the result `[…, outputs]`.
    pub fn linear(
        &mut self,
        x: Var,
        weight: Var,
        bias: Option<Var>,
        residual: Option<Var>,
    ) -> Result<Var, ShapeError> {
        let (rows, inputs) = (self.shape(x).rows(), self.shape(x).cols());
        let weight_shape = self.shape(weight);
        check("the dimensions of a linear map's weight", 2, weight_shape.dims().len())?;
        let outputs = weight_shape.rows();
        check("the inputs of a linear map's weight", inputs, weight_shape.cols())?;
        let shape: Shape = self.shape(x).with_cols(outputs)?;
        let mut out = Buffer::unspecified(shape.len());
        E::gemm(Gemm {
            a: Mat::new(self.value(x), rows, inputs)?,
            transpose_a: false,
            b: Mat::new(self.value(weight), outputs, inputs)?,
            transpose_b: true,
            c: MatMut::new(&mut out, rows, outputs)?,
            write: Write::Overwrite,
            epilogue: Epilogue {
                bias: bias.map(|b| self.value(b)),
                residual: residual.map(|r| Mat::new(self.value(r), rows, outputs)).transpose()?,
                ..Epilogue::default()
            },
        })?;
        let op = Op::Linear(Linear { x, weight, bias, residual, rows, inputs, outputs });
        Ok(self.record(op, out, shape, [Some(x), Some(weight), bias, residual], [x, weight]))
    }
}

impl<E: Element> Step<E> for Linear {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        let Self { rows, inputs, outputs, .. } = self;
        let d_out_matrix = Mat::new(&d_out, rows, outputs)?;
        pass.write(self.x, |pass, d_x, write| {
            E::gemm(Gemm {
                a: d_out_matrix,
                transpose_a: false,
                b: Mat::new(pass.value(self.weight), outputs, inputs)?,
                transpose_b: false,
                c: MatMut::new(d_x, rows, inputs)?,
                write,
                epilogue: Epilogue::default(),
            })
        })?;
        pass.write_wide(self.weight, |pass, d_weight, write| {
            let x = Mat::new(pass.value(self.x), rows, inputs)?;
            E::gemm_wide(d_out_matrix, true, x, false, MatMut::new(d_weight, outputs, inputs)?, write)
        })?;
        if let Some(bias) = self.bias {
            pass.add_wide(bias, |_, d_bias| E::sum_rows(&d_out, d_bias))?;
        }
        match self.residual {
            Some(residual) => pass.accumulate(residual, d_out),
            None => Ok(()),
        }
    }
}
