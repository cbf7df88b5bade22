import { KvlrError, throwIfAborted } from '@kvlr/core';
import type { DecoderTensors } from '@kvlr/runtime';
import { add, div, exp, log, mul, sub, sum, type Tensor2D, tensor2d } from '@tensorflow/tfjs-core';
import type { TrainingPiece } from './pieces.ts';
import type { StreamRun } from './streams.ts';
import { LoadedTeacher, type Target, type Teacher, type TeacherSettings, type TeacherView } from './teacher.ts';

/** The likeliest tokens of each row of a piece, [rows, topTokens] row by row, with their natural log-probabilities. */
export interface TopTokens {
  ids: Int32Array;
  logProbabilities: Float32Array;
}

/** Port: where what the original says is kept, by the name of the piece and the temperature. */
export interface TeacherStore {
  read(name: string): Promise<TopTokens | undefined>;
  write(name: string, tokens: TopTokens): Promise<void>;
}

/** A store that lives as long as the process. */
export function memoryTeacherStore(): TeacherStore {
  const kept = new Map<string, TopTokens>();
  return { read: async (name) => kept.get(name), write: async (name, tokens) => void kept.set(name, tokens) };
}

export interface RecordSettings {
  topTokens: number;
  temperature: number;
  /** Where the model's layers come from, or what runs them. */
  how?: Pick<StreamRun, 'frozen' | 'native'>;
  signal?: AbortSignal | undefined;
  onPiece?: (done: number) => void;
}

function entryName(piece: Pick<TrainingPiece, 'name'>, temperature: number): string {
  return temperature === 1 ? piece.name : `${piece.name}-temperature-${temperature}`;
}

/** The pieces of which a store does not hold yet what the original says. */
export async function missingPieces(
  store: TeacherStore,
  pieces: readonly TrainingPiece[],
  temperature: number,
): Promise<TrainingPiece[]> {
  const missing: TrainingPiece[] = [];
  for (const piece of pieces) {
    if ((await store.read(entryName(piece, temperature))) === undefined) missing.push(piece);
  }
  return missing;
}

/** Keeps the likeliest tokens of each row, one piece after another. */
export async function recordTeacher(
  model: DecoderTensors,
  pieces: readonly TrainingPiece[],
  store: TeacherStore,
  { topTokens, temperature, how, signal, onPiece }: RecordSettings,
): Promise<void> {
  const teacher = new LoadedTeacher(model, how);
  try {
    for (const [index, piece] of pieces.entries()) {
      throwIfAborted(signal);
      const logs = await teacher.logProbabilities(piece, temperature, signal);
      await store.write(entryName(piece, temperature), likeliest(logs, model.shape.vocabSize, topTokens));
      onPiece?.(index + 1);
    }
  } finally {
    teacher.dispose();
  }
}

/** Of each row the greatest entries, in falling order; of equal ones the first. */
function likeliest(logs: Float32Array, vocabSize: number, topTokens: number): TopTokens {
  const rows = logs.length / vocabSize;
  const kept = Math.min(topTokens, vocabSize);
  const ids = new Int32Array(rows * kept);
  const logProbabilities = new Float32Array(rows * kept);
  for (let row = 0; row < rows; row++) {
    const first = row * kept;
    let held = 0;
    for (let token = 0; token < vocabSize; token++) {
      const value = logs[row * vocabSize + token]!;
      if (held === kept && value <= logProbabilities[first + kept - 1]!) continue;
      let place = held < kept ? held++ : kept - 1;
      for (; place > 0 && logProbabilities[first + place - 1]! < value; place--) {
        logProbabilities[first + place] = logProbabilities[first + place - 1]!;
        ids[first + place] = ids[first + place - 1]!;
      }
      logProbabilities[first + place] = value;
      ids[first + place] = token;
    }
  }
  return { ids, logProbabilities };
}

/**
 * The original from what a store holds of it: its likeliest tokens, and the probability of all others together. The divergence is that
 * of these classes, which is no greater than the whole; the student's own shares stand for the original's among the others.
 */
export class RecordedTeacher implements Teacher {
  constructor(
    private readonly store: TeacherStore,
    private readonly vocabSize: number,
  ) {}

  /** Throws 'run-mismatch' for a piece that was not recorded at this temperature. */
  async view(pieces: readonly TrainingPiece[], { temperature }: TeacherSettings): Promise<TeacherView> {
    const recorded: TopTokens[] = [];
    for (const piece of pieces) {
      const name = entryName(piece, temperature);
      const tokens = await this.store.read(name);
      if (tokens === undefined) {
        throw new KvlrError('run-mismatch', {
          message: `expected what the original says of ${name}, found nothing`,
          hint: 'Keep the store of a run until the run is done.',
          data: { name },
        });
      }
      recorded.push(tokens);
    }
    const rowsEach = pieces[0]!.tokenIds.length;
    return {
      streams: [],
      target: (firstRow, count) => this.target(recorded, rowsEach, firstRow, count),
      dispose() {},
    };
  }

  /** What it says comes from the host. */
  viewAtOnce(): undefined {
    return undefined;
  }

  dispose(): void {}

  private target(recorded: readonly TopTokens[], rowsEach: number, firstRow: number, count: number): Target {
    const { vocabSize } = this;
    const kept = recorded[0]!.ids.length / rowsEach;
    const known = new Float32Array(count * vocabSize);
    const unknown = new Float32Array(count * vocabSize).fill(1);
    const rest = new Float32Array(count);
    const negativeEntropy = new Float32Array(count);
    for (let row = 0; row < count; row++) {
      const { ids, logProbabilities } = recorded[Math.floor((firstRow + row) / rowsEach)]!;
      const first = ((firstRow + row) % rowsEach) * kept;
      let [sum, entropy] = [0, 0];
      for (let place = first; place < first + kept; place++) {
        const probability = Math.exp(logProbabilities[place]!);
        known[row * vocabSize + ids[place]!] = probability;
        unknown[row * vocabSize + ids[place]!] = 0;
        sum += probability;
        entropy += probability * logProbabilities[place]!;
      }
      rest[row] = Math.max(0, 1 - sum);
      negativeEntropy[row] = entropy + (rest[row]! > 0 ? rest[row]! * Math.log(rest[row]!) : 0);
    }
    const shape: [number, number] = [count, vocabSize];
    const [knownRows, unknownRows] = [tensor2d(known, shape), tensor2d(unknown, shape)];
    const [restRows, entropyRows] = [tensor2d(rest, [count, 1]), tensor2d(negativeEntropy, [count, 1])];
    return (studentLogs) => {
      const others: Tensor2D = mul(exp(studentLogs), unknownRows);
      const ownRest: Tensor2D = add(sum(others, 1, true), LEAST_PROBABILITY);
      const cross = add(sum(mul(knownRows, studentLogs), 1, true), mul(restRows, log(ownRest)));
      return {
        divergence: sub(entropyRows, cross) as Tensor2D,
        distribution: add(knownRows, mul(others, div(restRows, ownRest))) as Tensor2D,
      };
    };
  }
}

/** Keeps the logarithm of a share that has vanished finite. */
const LEAST_PROBABILITY = 1e-30;
