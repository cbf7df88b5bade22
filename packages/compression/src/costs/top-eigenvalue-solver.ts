/** Far more steps than Laguerre's iteration takes; where rounding lets the estimate hover, the last one stands. */
const maximumSteps = 100;

/**
 * Largest eigenvalues of many small complex Hermitian positive semidefinite matrices, one after the other, without
 * allocating: Householder reduction to tridiagonal form, then Laguerre's iteration from the trace downwards (Parlett,
 * The Symmetric Eigenvalue Problem, section 4), which never passes the largest root. The error is a small multiple of
 * 2^-52 of the trace.
 *
 * Write both triangles of a matrix of `size` rows into `real` and `imag` (row-major, `size` numbers a row), then call
 * `solve(size)`. The entries are overwritten.
 */
export class TopEigenvalueSolver {
  readonly real: Float64Array;
  readonly imag: Float64Array;
  private readonly diagonal: Float64Array;
  /** Squared magnitudes of the couplings: entry i joins i and i + 1. */
  private readonly squaredCoupling: Float64Array;
  private readonly vectorReal: Float64Array;
  private readonly vectorImag: Float64Array;
  private readonly productReal: Float64Array;
  private readonly productImag: Float64Array;

  /** @param capacity Rows of the largest matrix to come. */
  constructor(capacity: number) {
    this.real = new Float64Array(capacity * capacity);
    this.imag = new Float64Array(capacity * capacity);
    this.diagonal = new Float64Array(capacity);
    this.squaredCoupling = new Float64Array(capacity);
    this.vectorReal = new Float64Array(capacity);
    this.vectorImag = new Float64Array(capacity);
    this.productReal = new Float64Array(capacity);
    this.productImag = new Float64Array(capacity);
  }

  solve(size: number): number {
    if (size === 1) return this.real[0]!;
    for (let column = 0; column < size - 2; column++) this.reflect(column, size);
    const last = size * (size - 1) + size - 2;
    this.squaredCoupling[size - 2] = this.real[last]! ** 2 + this.imag[last]! ** 2;
    let trace = 0;
    for (let i = 0; i < size; i++) {
      this.diagonal[i] = this.real[i * (size + 1)]!;
      trace += this.diagonal[i]!;
    }
    return trace > 0 ? this.largestRoot(size, trace) : 0;
  }

  /** Clears the column below its first subdiagonal entry by a unitary reflection of the rows and columns after it. */
  private reflect(column: number, size: number): void {
    const { real, imag, vectorReal, vectorImag, productReal, productImag } = this;
    const start = column + 1;
    let norm = 0;
    for (let row = start; row < size; row++) {
      vectorReal[row] = real[row * size + column]!;
      vectorImag[row] = imag[row * size + column]!;
      norm += vectorReal[row]! ** 2 + vectorImag[row]! ** 2;
    }
    this.squaredCoupling[column] = norm;
    const length = Math.sqrt(norm);
    const head = Math.sqrt(vectorReal[start]! ** 2 + vectorImag[start]! ** 2);
    const halfNorm = length * (length + head);
    if (halfNorm === 0) return;
    vectorReal[start]! += head === 0 ? length : (length * vectorReal[start]!) / head;
    vectorImag[start]! += head === 0 ? 0 : (length * vectorImag[start]!) / head;

    // A <- A - v w^H - w v^H with p = A v / halfNorm and w = p - (v^H p / (2 halfNorm)) v.
    let projection = 0;
    for (let row = start; row < size; row++) {
      let sumReal = 0;
      let sumImag = 0;
      for (let k = start; k < size; k++) {
        const entry = row * size + k;
        sumReal += real[entry]! * vectorReal[k]! - imag[entry]! * vectorImag[k]!;
        sumImag += real[entry]! * vectorImag[k]! + imag[entry]! * vectorReal[k]!;
      }
      productReal[row] = sumReal / halfNorm;
      productImag[row] = sumImag / halfNorm;
      projection += vectorReal[row]! * productReal[row]! + vectorImag[row]! * productImag[row]!;
    }
    const share = projection / (2 * halfNorm);
    for (let row = start; row < size; row++) {
      productReal[row]! -= share * vectorReal[row]!;
      productImag[row]! -= share * vectorImag[row]!;
    }
    for (let row = start; row < size; row++) {
      for (let k = start; k < size; k++) {
        const entry = row * size + k;
        real[entry]! -=
          vectorReal[row]! * productReal[k]! +
          vectorImag[row]! * productImag[k]! +
          productReal[row]! * vectorReal[k]! +
          productImag[row]! * vectorImag[k]!;
        imag[entry]! -=
          vectorImag[row]! * productReal[k]! -
          vectorReal[row]! * productImag[k]! +
          productImag[row]! * vectorReal[k]! -
          productReal[row]! * vectorImag[k]!;
      }
    }
  }

  /**
   * Laguerre's iteration on det(x - T) as the product of the pivots q_i of x - T, whose logarithmic derivatives stay in
   * range at any size. A pivot that is no longer positive says that x has reached the root to within rounding.
   */
  private largestRoot(size: number, upperBound: number): number {
    const { diagonal, squaredCoupling } = this;
    let x = upperBound;
    for (let step = 0; step < maximumSteps; step++) {
      let first = 0;
      let second = 0;
      let pivot = x - diagonal[0]!;
      let slope = 1;
      let bend = 0;
      for (let i = 0; ; i++) {
        if (!(pivot > 0)) return x;
        const ratio = slope / pivot;
        first += ratio;
        second += ratio * ratio - bend / pivot;
        if (i === size - 1) break;
        const pull = squaredCoupling[i]! / pivot;
        bend = (pull * (bend - 2 * slope * ratio)) / pivot;
        slope = 1 + pull * ratio;
        pivot = x - diagonal[i + 1]! - pull;
      }
      const spread = Math.max(0, (size - 1) * (size * second - first * first));
      const next = x - size / (first + Math.sqrt(spread));
      if (!(x - next > 2 * Number.EPSILON * x)) return Math.min(next, x);
      x = next;
    }
    return x;
  }
}
