import { type DecoderTensors, readOut } from '@kvlr/runtime';
import {
  add,
  cast,
  concat,
  div,
  exp,
  grad,
  mul,
  neg,
  oneHot,
  type Scalar,
  scalar,
  slice,
  sub,
  sum,
  type Tensor,
  type Tensor2D,
  tidy,
} from '@tensorflow/tfjs-core';
import type { Objective } from './objective.ts';
import type { PieceRows } from './piece-rows.ts';
import { softmaxLogs, type TeacherView } from './teacher.ts';

/** Rows whose logits are formed at once: logits of all rows would be the largest tensor by far. */
const ROWS_AT_ONCE = 512;

export interface ReadoutRequest {
  student: DecoderTensors;
  /** The student's stream after the last layer, [pieces * tokens, hiddenSize]. */
  stream: Tensor2D;
  /** What the original says of the pieces; undefined where it is not asked. */
  teacher: TeacherView | undefined;
  /** Of the pieces. */
  rows: PieceRows;
}

/** Losses summed over the rows that count, as scalars; next tokens over those of them that have one. */
export type ReadoutSums = {
  /** 0 without a teacher. */
  divergence: Scalar;
  nextToken: Scalar;
};

/** KL(original || student) and the cross-entropy of next tokens, at temperature 1. The caller disposes them. */
export function readoutSums(request: ReadoutRequest): ReadoutSums {
  return tidy(() => {
    let divergence = scalar(0);
    let nextToken = scalar(0);
    forEachPart(request, (part) => {
      const logs = softmaxLogs(part.logits, 1);
      if (part.target) divergence = add(divergence, sum(mul(part.target(logs).divergence, part.counted)));
      nextToken = add(nextToken, neg(sum(mul(part.nextTokens(), logs))));
      return { divergence, nextToken };
    });
    return { divergence, nextToken };
  });
}

/**
 * The loss of the predictions, summed over rows and divided by `rowsOfStep`, and its gradient to the student's stream. Of a row with
 * the student's distribution p the gradient to the logits is p minus the original's distribution, times the temperature, and p minus
 * the next token's indicator for the second part of the loss; norm and head are frozen, and what comes to the logits goes back through
 * them.
 */
export function readoutGradient(
  request: ReadoutRequest,
  { nextTokenShare: share, temperature }: Objective,
  rowsOfStep: number | Scalar,
): { loss: Scalar; gradient: Tensor2D } {
  const { student } = request;
  return tidy(() => {
    let loss = scalar(0);
    const gradients: Tensor2D[] = [];
    forEachPart(request, (part) => {
      let partLoss: Scalar = scalar(0);
      let toLogits: Tensor2D | undefined;
      if (share < 1 && part.target) {
        const logs = softmaxLogs(part.logits, temperature);
        const { divergence, distribution } = part.target(logs);
        partLoss = mul(sum(mul(divergence, part.counted)), (1 - share) * temperature ** 2);
        toLogits = mul(mul(sub(exp(logs), distribution), part.counted), (1 - share) * temperature);
      }
      if (share > 0) {
        const logs = softmaxLogs(part.logits, 1);
        const next = part.nextTokens();
        partLoss = add(partLoss, mul(neg(sum(mul(next, logs))), share));
        const toNext: Tensor2D = mul(sub(mul(exp(logs), part.predicted), next), share);
        toLogits = toLogits === undefined ? toNext : add(toLogits, toNext);
      }
      loss = add(loss, div(partLoss, rowsOfStep));
      const throughHead = grad((x: Tensor) => readOut(x as Tensor2D, student));
      const gradient = div(throughHead(part.stream, toLogits!), rowsOfStep) as Tensor2D;
      gradients.push(gradient);
      return { loss, gradient };
    });
    return { loss, gradient: concat(gradients, 0) };
  });
}

/** Some rows of the readout. */
interface Part extends Pick<PieceRows, 'counted' | 'predicted'> {
  stream: Tensor2D;
  /** The student's, [rows, vocabSize]. */
  logits: Tensor2D;
  target: ReturnType<TeacherView['target']> | undefined;
  /** Indicators of the next tokens, [rows, vocabSize]: zeros where none counts. */
  nextTokens(): Tensor2D;
}

/** Visits the rows part by part; of each visit only what is returned stays. */
function forEachPart(
  { student, stream: whole, teacher, rows: all }: ReadoutRequest,
  visit: (part: Part) => Record<string, Tensor>,
): void {
  const [rows, width] = whole.shape;
  const { vocabSize } = student.shape;
  for (let start = 0; start < rows; start += ROWS_AT_ONCE) {
    tidy(() => {
      const count = Math.min(ROWS_AT_ONCE, rows - start);
      const ofPart = <Rows extends Tensor>(tensor: Rows): Rows =>
        count === rows ? tensor : slice(tensor, start, count);
      const stream = slice(whole, [start, 0], [count, width]);
      const predicted = ofPart(all.predicted);
      return visit({
        stream,
        logits: readOut(stream, student),
        target: teacher?.target(start, count),
        counted: ofPart(all.counted),
        predicted,
        // wasm's kernel writes integers whatever type is asked for.
        nextTokens: () => mul(cast(oneHot(ofPart(all.nextIds), vocabSize), 'float32') as Tensor2D, predicted),
      });
    });
  }
}
