/** Numbers of one parameter on the host, all of one length, which steps change where they lie. */
export interface HostParameter {
  value: Float32Array;
  /** Running means of its gradient and of its square. */
  mean: Float32Array;
  square: Float32Array;
}

/** What a step of Adam is made of, for one parameter. */
export interface AdamConstants {
  meanDecay: number;
  squareDecay: number;
  epsilon: number;
  /** What the gradient is multiplied with. */
  factor: number;
  /** The full step divided by what the running mean is to be divided by. */
  rate: number;
  /** What the running mean of the square is to be divided by. */
  squareCorrection: number;
  /** Share of the value that stays. */
  kept: number;
}

/** One step of Adam (Kingma and Ba 2015, algorithm 1; decoupled weight decay of Loshchilov and Hutter 2019). */
export function adamOnHost({ value, mean, square }: HostParameter, gradient: Float32Array, given: AdamConstants): void {
  const { meanDecay, squareDecay, factor, kept } = given;
  const [meanShare, squareShare] = [1 - meanDecay, 1 - squareDecay];
  // The root of the correction is taken out of the fraction: a division less for each number.
  const root = Math.sqrt(given.squareCorrection);
  const [rate, epsilon] = [given.rate * root, given.epsilon * root];
  for (let place = 0; place < value.length; place++) {
    const slope = factor * gradient[place]!;
    const nextMean = meanDecay * mean[place]! + meanShare * slope;
    const nextSquare = squareDecay * square[place]! + squareShare * slope * slope;
    mean[place] = nextMean;
    square[place] = nextSquare;
    value[place] = kept * value[place]! - (rate * nextMean) / (Math.sqrt(nextSquare) + epsilon);
  }
}

/** The Euclidean norm of all numbers together. */
export function normOf(arrays: readonly Float32Array[]): number {
  let squares = 0;
  for (const array of arrays) for (const value of array) squares += value * value;
  return Math.sqrt(squares);
}
