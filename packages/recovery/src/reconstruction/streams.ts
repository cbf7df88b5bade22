import { type DecoderShape, globalTensors, type ModelSource, type StreamStore, throwIfAborted } from '@kvlr/core';
import {
  attentionBlock,
  createSequenceContext,
  disposeTensors,
  embed,
  floats,
  type LayerTensors,
  type SequenceContext,
  streamAfterAttention,
  streamAfterFeedForward,
  uploadTensors,
  WindowPass,
} from '@kvlr/runtime';
import { concat, getBackend, type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';

/** The streams of so many windows, [tokens, hiddenSize] each. */
export interface WindowStreams {
  store: StreamStore;
  count: number;
}

/** Puts the residual streams before the first layer, [tokens, hiddenSize] per window, into a store. */
export async function embedWindows(
  model: ModelSource,
  windows: readonly Int32Array[],
  store: StreamStore,
): Promise<void> {
  const { shape } = model;
  const globals = await uploadTensors(
    model,
    globalTensors(shape).filter(({ part }) => part === 'embedding'),
  );
  try {
    await readInTurn(windows, async (ids, place) => {
      const stream = tidy(() => embed(tensor1d(ids, 'int32'), Array.from(ids.keys()), { shape, globals }));
      try {
        await store.write(place, await stream.data<'float32'>());
      } finally {
        stream.dispose();
      }
    });
  } finally {
    disposeTensors(globals);
  }
}

export interface AdvanceSettings {
  shape: DecoderShape;
  layer: number;
  signal?: AbortSignal | undefined;
  /** Windows that pass at once. Default: see `windowsAtOnce`. */
  atOnce?: number;
  /** Streams behind the layer's attention are read back as well. */
  between?: boolean;
}

/** A window's stream before and behind a layer, and behind its attention, where that was wanted. */
export interface PassedStream {
  before: Float32Array;
  after: Float32Array;
  between?: Float32Array | undefined;
}

/**
 * Tokens at most that pass a layer at once on a GPU: few windows leave it idle. Products over fewer than 2,000 rows are summed in the same
 * order at every run; TensorFlow.js cuts longer sums in parts that meet as they come.
 */
const MOST_TOKENS = 1999;

/** Windows of so many tokens that pass at once on the backend that is active. */
export function windowsAtOnce(tokens: number): number {
  return getBackend() === 'webgpu' ? Math.max(1, Math.floor(MOST_TOKENS / tokens)) : 1;
}

/** The windows' places in groups of so many, the last one with what is left. */
export function groupsOf(count: number, atOnce: number): number[][] {
  return Array.from({ length: Math.ceil(count / atOnce) }, (_, group) =>
    Array.from({ length: Math.min(atOnce, count - group * atOnce) }, (_, place) => group * atOnce + place),
  );
}

/** Takes windows through a layer, and hands over each as it comes. */
export async function advanceThroughLayer(
  { store, count }: WindowStreams,
  weights: LayerTensors,
  settings: AdvanceSettings,
  onWindow: (passed: PassedStream, place: number) => Promise<void>,
): Promise<void> {
  const { shape, signal } = settings;
  const tokens = (await store.read(0)).length / shape.hiddenSize;
  const { atOnce = windowsAtOnce(tokens) } = settings;
  const passes = new Map<number, LayerPass>();
  const passOf = (count: number): LayerPass => {
    const pass = passes.get(count) ?? new LayerPass(weights, settings, { count, tokens });
    passes.set(count, pass);
    return pass;
  };
  try {
    const groups = groupsOf(count, atOnce);
    await readInTurn(groups, async (group) => {
      throwIfAborted(signal);
      const streams = await Promise.all(group.map((place) => store.read(place)));
      const passed = await passOf(group.length).run(streams);
      for (const [position, each] of passed.entries()) await onWindow(each, group[position]!);
    });
  } finally {
    for (const pass of passes.values()) pass.dispose();
  }
}

/** So many windows at once through a layer. */
class LayerPass {
  private readonly context: SequenceContext;
  private readonly pass: WindowPass;

  constructor(
    weights: LayerTensors,
    { shape, layer, between: wantsBetween }: AdvanceSettings,
    { count, tokens }: { count: number; tokens: number },
  ) {
    const context = createSequenceContext({ shape, batch: count, tokens });
    this.context = context;
    this.pass = new WindowPass({
      inputs: Array.from({ length: count }, () => floats(tokens, shape.hiddenSize)),
      body: (...windows) => {
        const stream = (count === 1 ? windows[0]! : concat(windows, 0)) as Tensor2D;
        const { blockOutput } = attentionBlock(stream, weights, { shape, layer, context });
        const between = streamAfterAttention(stream, blockOutput, weights, shape);
        const after = streamAfterFeedForward(stream, between, weights, shape);
        return wantsBetween ? [after, between] : [after];
      },
    });
  }

  async run(windows: readonly Float32Array[]): Promise<PassedStream[]> {
    const [after, between] = await this.pass.run(...windows);
    const { length } = windows[0]!;
    const part = (whole: Float32Array, place: number) => whole.subarray(place * length, (place + 1) * length);
    return windows.map((before, place) => ({
      ...{ before, after: part(after!, place), between: between && part(between, place) },
    }));
  }

  dispose(): void {
    this.pass.dispose();
    this.context.dispose();
  }
}

/** Items that are computed while earlier ones are read. */
const READ_AT_ONCE = 4;

/** Takes items in their order; a few are under way at once, so that a GPU does not wait for the host. */
async function readInTurn<Item>(
  items: readonly Item[],
  take: (item: Item, place: number) => Promise<void>,
): Promise<void> {
  const taken: Promise<void>[] = [];
  try {
    for (const [place, item] of items.entries()) {
      await taken[place - READ_AT_ONCE];
      const under = take(item, place);
      // It is heard of below, if not in between.
      under.catch(() => undefined);
      taken.push(under);
    }
    await Promise.all(taken);
  } catch (error) {
    // Nothing is under way any more when it is heard of.
    await Promise.allSettled(taken);
    throw error;
  }
}
