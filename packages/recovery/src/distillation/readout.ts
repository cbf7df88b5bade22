import { type DecoderTensors, readOut } from '@kvlr/runtime';
import {
  add,
  cast,
  concat,
  div,
  exp,
  grad,
  logSoftmax,
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
  tensor1d,
  tensor2d,
  tidy,
} from '@tensorflow/tfjs-core';

/** Rows whose logits are formed at once: logits of all rows would be the largest tensor by far. */
const ROWS_AT_ONCE = 512;

export interface ReadoutRequest {
  teacher: DecoderTensors;
  student: DecoderTensors;
  /** Streams after the last layer, [windows * tokens, hiddenSize]. */
  teacherStream: Tensor2D;
  studentStream: Tensor2D;
  /** The windows' token ids. */
  windows: readonly Int32Array[];
  /** Share of the next token in the target, where there is one in the window. */
  nextTokenShare: number;
}

/** Losses summed over rows, as scalars; next tokens over the rows that have one. */
export interface ReadoutSums {
  divergence: Scalar;
  nextToken: Scalar;
}

/** KL(original || student) and the cross-entropy of next tokens. The caller disposes them. */
export function readoutSums(request: ReadoutRequest): ReadoutSums {
  return tidy(() => {
    let divergence = scalar(0);
    let nextToken = scalar(0);
    forEachPart(request, (part) => {
      divergence = add(divergence, part.divergence());
      nextToken = add(nextToken, part.nextToken());
      return { divergence, nextToken };
    });
    return { divergence, nextToken };
  });
}

/**
 * The training loss, a mean over rows, and its gradient to the student's stream. Of a row with the student's distribution p
 * the gradient to the logits is p minus the original's distribution, and p minus the next token's indicator for the second
 * part of the loss; norm and head are frozen, and what comes to the logits goes back through them.
 */
export function readoutGradient(request: ReadoutRequest): { loss: Scalar; gradient: Tensor2D } {
  const { student, studentStream, nextTokenShare: share } = request;
  const rows = studentStream.shape[0];
  return tidy(() => {
    let loss = scalar(0);
    const gradients: Tensor2D[] = [];
    forEachPart(request, (part) => {
      const divergence = part.divergence();
      const partLoss = share === 0 ? divergence : add(mul(divergence, 1 - share), mul(part.nextToken(), share));
      loss = add(loss, div(partLoss, rows));
      const throughHead = grad((x: Tensor) => readOut(x as Tensor2D, student));
      const gradient = div(throughHead(part.stream, part.toLogits()), rows) as Tensor2D;
      gradients.push(gradient);
      return { loss, gradient };
    });
    return { loss, gradient: concat(gradients, 0) };
  });
}

/** Some rows of the readout. */
interface Part {
  stream: Tensor2D;
  divergence(): Scalar;
  nextToken(): Scalar;
  /** Gradient of the loss, summed over rows, to the student's logits [rows, vocabSize]. */
  toLogits(): Tensor2D;
}

/** Visits the rows part by part; of each visit only what is returned stays. */
function forEachPart(request: ReadoutRequest, visit: (part: Part) => Record<string, Tensor>): void {
  const { teacher, student, teacherStream, studentStream, windows, nextTokenShare: share } = request;
  const [rows, width] = studentStream.shape;
  const { vocabSize } = student.shape;
  const nextIds = windows.flatMap((window) => [...window.subarray(1), Number.NaN]);
  for (let start = 0; start < rows; start += ROWS_AT_ONCE) {
    tidy(() => {
      const count = Math.min(ROWS_AT_ONCE, rows - start);
      const ids = nextIds.slice(start, start + count);
      const stream = slice(studentStream, [start, 0], [count, width]);
      const studentLogs = logProbabilities(student, stream);
      const teacherLogs = logProbabilities(teacher, slice(teacherStream, [start, 0], [count, width]));
      const original = exp(teacherLogs);
      const hasNext = tensor2d(ids.map(Number.isInteger).map(Number), [count, 1]);
      // A row of zeros for the last token of a window, whose next one is not known.
      const nextTokens = (): Tensor2D => {
        const indices = tensor1d(
          Int32Array.from(ids, (id) => id || 0),
          'int32',
        );
        // wasm's kernel writes integers whatever type is asked for.
        return mul(cast(oneHot(indices, vocabSize), 'float32') as Tensor2D, hasNext);
      };
      return visit({
        stream,
        divergence: () => sum(mul(original, sub(teacherLogs, studentLogs))),
        nextToken: () => neg(sum(mul(nextTokens(), studentLogs))),
        toLogits: () => {
          const student = exp(studentLogs);
          const toOriginal: Tensor2D = sub(student, original);
          if (share === 0) return toOriginal;
          return add(mul(toOriginal, 1 - share), mul(sub(mul(student, hasNext), nextTokens()), share));
        },
      });
    });
  }
}

function logProbabilities(model: DecoderTensors, stream: Tensor2D): Tensor2D {
  return logSoftmax(readOut(stream, model));
}
