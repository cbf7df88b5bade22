import { createSequenceContext, type DecoderTensors, readOut, type SequenceContext } from '@kvlr/runtime';
import { exp, logSoftmax, mul, slice, sub, sum, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import type { NativeTrainingModel } from '../native/native-training.ts';
import type { PieceRows } from './piece-rows.ts';
import type { TrainingPiece } from './pieces.ts';
import { lastStream, runStreams, type StreamRun, streamsAtOnce } from './streams.ts';

/** Says what the original predicts. */
export interface Teacher {
  /** Looks at pieces of one length. The caller disposes what comes. Distributions are softmax(logits / temperature). */
  view(pieces: readonly TrainingPiece[], settings: TeacherSettings): Promise<TeacherView>;
  /**
   * The same at once, of so many pieces whose ids are on the device, where all that it takes lies there as well; undefined where it does
   * not. What it makes is disposed by the tf.tidy around it.
   */
  viewAtOnce(pieces: number, tokens: number): ((rows: PieceRows, settings: TeacherSettings) => TeacherView) | undefined;
  /** Where native code runs it: the model in native code. */
  readonly native?: NativeTrainingModel | undefined;
  dispose(): void;
}

export interface TeacherSettings {
  temperature: number;
  /** Whether the streams between layers are wanted as well. */
  streams: boolean;
  signal?: AbortSignal | undefined;
}

/** What the original says of some pieces. */
export interface TeacherView {
  /** After each layer, [rows, hiddenSize]; empty where they were not asked for. */
  readonly streams: readonly Tensor2D[];
  /** Its distribution for some rows. Call inside tf.tidy. */
  target(firstRow: number, count: number): Target;
  dispose(): void;
}

/** The original's distribution q for some rows, beside the student's log p [rows, vocabSize] at the same temperature. */
export type Target = (studentLogs: Tensor2D) => {
  /** KL(q || p) of each row, [rows, 1]. */
  divergence: Tensor2D;
  /** q, [rows, vocabSize]: the divergence has the gradient p - q to the student's logits. */
  distribution: Tensor2D;
};

/** The original in memory. */
export class LoadedTeacher implements Teacher {
  private readonly contexts = new Map<string, SequenceContext>();

  /**
   * @param model Stays the caller's.
   * @param how Where its layers come from, or what runs them instead.
   */
  constructor(
    private readonly model: DecoderTensors,
    private readonly how: Pick<StreamRun, 'frozen' | 'native'> = {},
  ) {}

  async view(pieces: readonly TrainingPiece[], settings: TeacherSettings): Promise<TeacherView> {
    const { model, how } = this;
    const { signal } = settings;
    const run = { context: this.context(pieces.length, pieces[0]!.tokenIds.length), ...how, signal };
    const streams = settings.streams
      ? (await runStreams(model, pieces, run)).filter((stream, index) => index > 0 || stream.dispose())
      : [await lastStream(model, pieces, run)];
    return this.viewOf(streams, settings);
  }

  get native(): NativeTrainingModel | undefined {
    return this.how.native?.model;
  }

  viewAtOnce(pieces: number, tokens: number): ReturnType<Teacher['viewAtOnce']> {
    const { model, how } = this;
    if (how.native !== undefined || model.layers.length === 0) return undefined;
    const context = this.context(pieces, tokens);
    return (rows, settings) => {
      const streams = streamsAtOnce(model, rows.tokenIds, { context }, settings.streams ? 'all' : 'last');
      return this.viewOf(settings.streams ? streams.slice(1) : streams, settings);
    };
  }

  /** @param streams After each layer, or after the last alone. */
  private viewOf(streams: Tensor2D[], { streams: asked, temperature }: TeacherSettings): TeacherView {
    const { model } = this;
    const last = streams.at(-1)!;
    return {
      streams: asked ? streams : [],
      target(firstRow, count) {
        const rows = slice(last, [firstRow, 0], [count, last.shape[1]]);
        const logs = softmaxLogs(readOut(rows, model), temperature);
        const distribution = exp(logs) as Tensor2D;
        return (studentLogs) => ({
          divergence: sum(mul(distribution, sub(logs, studentLogs)), 1, true) as Tensor2D,
          distribution,
        });
      },
      dispose: () => {
        for (const stream of streams) stream.dispose();
      },
    };
  }

  /** Of one piece, [rows, vocabSize], as the host holds it. */
  async logProbabilities(piece: TrainingPiece, temperature: number, signal?: AbortSignal): Promise<Float32Array> {
    const run = { context: this.context(1, piece.tokenIds.length), ...this.how, signal };
    const stream = await lastStream(this.model, [piece], run);
    const logs = tidy(() => softmaxLogs(readOut(stream, this.model), temperature));
    stream.dispose();
    const values = (await logs.data()) as Float32Array;
    logs.dispose();
    return values;
  }

  dispose(): void {
    for (const context of this.contexts.values()) context.dispose();
  }

  private context(batch: number, tokens: number): SequenceContext {
    const key = `${batch} x ${tokens}`;
    const context = this.contexts.get(key) ?? createSequenceContext({ shape: this.model.shape, batch, tokens });
    this.contexts.set(key, context);
    return context;
  }
}

/** log softmax(logits / temperature). */
export function softmaxLogs(logits: Tensor2D, temperature: number): Tensor2D {
  return logSoftmax(temperature === 1 ? logits : mul(logits, 1 / temperature));
}
