import { LayerMoments, mergeLayers, momentTaps } from '@kvlr/calibration';
import {
  type DecoderShape,
  type LayerActivations,
  type LayerStatistics,
  type LogitSource,
  type ModelSource,
  mapInOrder,
  type StreamStore,
  type TapName,
} from '@kvlr/core';
import type { LayerOnDevice } from '@kvlr/runtime';

/** What some windows give in one layer: their residual streams behind it and, where asked for, what is seen of it. */
export interface PassedWindows {
  streams: Float32Array[];
  /** Second moments of these windows. */
  statistics?: LayerStatistics;
  activations?: LayerActivations[];
}

/** What is to be seen of a layer while windows pass it. */
export interface PassRequest {
  streams: Float32Array[];
  /** Gathers second moments over the windows. */
  gathers?: boolean;
  /** Shows these activations of every window. */
  taps?: readonly TapName[];
}

/** One part of a model, wherever it was put: windows are worked on side by side, as many groups at once as `concurrency` says. */
export interface LoadedPart {
  concurrency: number;
  /** Passes a group of windows through the layer. */
  pass(request: PassRequest): Promise<PassedWindows>;
  /** Logits of a window, where the part is the head. */
  logits(stream: Float32Array): Promise<Float32Array>;
  dispose(): void;
}

/** What windows gave in one layer, elsewhere: the taps `momentTaps` of each. */
export interface MomentsQuestion {
  shape: DecoderShape;
  layer: number;
  windows: readonly LayerActivations[];
}

/** Gathers the second moments of a layer over windows. */
export type GatherMoments = (question: MomentsQuestion) => Promise<LayerStatistics>;

/** Port: puts a layer of a model, by its number, or its head where windows can pass through it. */
export type LoadPart = (part: number | 'head') => Promise<LoadedPart>;

/**
 * Passes a group of windows through a layer on the device of this thread.
 *
 * @param elsewhere Gathers the moments of the group in the place of this thread, to the same numbers.
 */
export async function passGroup(
  layer: LayerOnDevice,
  { shape }: Pick<ModelSource, 'shape'>,
  index: number,
  { streams, gathers = false, taps = [] }: PassRequest,
  elsewhere?: GatherMoments,
): Promise<PassedWindows> {
  if (gathers && elsewhere && taps.length === 0) {
    const shown = await Promise.all(streams.map((stream) => layer.pass(stream, momentTaps)));
    const windows = shown.map(({ activations }) => activations);
    const statistics = await elsewhere({ shape, layer: index, windows });
    return { streams: shown.map(({ after }) => after), statistics };
  }
  const moments = gathers ? new LayerMoments(shape, index) : undefined;
  const wanted = [...new Set([...taps, ...(gathers ? momentTaps : [])])];
  const passed: Float32Array[] = [];
  const activations: LayerActivations[] = [];
  for (const stream of streams) {
    const shown = await layer.pass(stream, wanted);
    passed.push(shown.after);
    moments?.add(shown.activations);
    if (taps.length > 0) activations.push(shown.activations);
  }
  return { streams: passed, ...(moments && { statistics: moments.statistics() }), activations };
}

/** Windows whose moments are summed before they meet the others: fixed, so that sums do not depend on who gathers them. */
export const windowsPerGroup = 4;

/**
 * Windows on their way through a model of which one layer at a time is in memory. They go through it together: `advance` takes all of
 * them through the next layer; behind the last one their logits can be asked for.
 */
export class WindowStream implements LogitSource {
  readonly vocabSize: number;
  /** The layer that the windows come to next; the number of layers behind the last. */
  layer = 0;
  private head: Promise<LoadedPart> | undefined;
  private readonly places: ReadonlyMap<string, number>;

  /** Of windows that are embedded: their streams lie in the store, in their order. */
  constructor(
    private readonly source: ModelSource,
    private readonly windows: readonly Int32Array[],
    private readonly store: StreamStore,
    private readonly loadPart: LoadPart,
    readonly concurrency: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.vocabSize = source.shape.vocabSize;
    this.places = new Map(windows.map((window, place) => [window.join(), place]));
  }

  /** Takes all windows through the next layer, and shows what was asked for of each, in their order. */
  async advance(taps: readonly TapName[] = [], visit?: (activations: LayerActivations) => void): Promise<void> {
    await this.throughLayer(1, { taps }, ({ activations }) => {
      for (const shown of activations ?? []) visit?.(shown);
    });
  }

  /** The same with the second moments of all windows in the layer: the same numbers, bit for bit, wherever they are gathered. */
  async advanceGathering(onGroup: (windows: number) => void = () => {}): Promise<LayerStatistics> {
    let merged: LayerStatistics | undefined;
    await this.throughLayer(windowsPerGroup, { gathers: true }, ({ statistics, streams }) => {
      merged = merged ? mergeLayers([merged, statistics!]) : statistics!;
      onGroup(streams.length);
    });
    return merged!;
  }

  /** Takes all windows through the layers that are left. */
  async advanceToEnd(onLayer: (layer: number) => void = () => {}): Promise<void> {
    while (this.layer < this.source.shape.numLayers) {
      await this.advance();
      onLayer(this.layer);
    }
  }

  /** Logits of one of the windows, [tokens, vocabSize], behind the last layer. */
  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    const stream = await this.store.read(this.places.get(tokenIds.join())!);
    this.head ??= this.loadPart('head');
    return (await this.head).logits(stream);
  }

  /** Frees whatever is held. */
  async dispose(): Promise<void> {
    const head = await this.head?.catch(() => undefined);
    head?.dispose();
    await this.store.close();
  }

  private async throughLayer(
    size: number,
    asked: Omit<PassRequest, 'streams'>,
    onGroup: (passed: PassedWindows) => void,
  ): Promise<void> {
    const { store, windows, signal } = this;
    const places = Array.from(windows.keys());
    const groups = Array.from({ length: Math.ceil(places.length / size) }, (_, group) =>
      places.slice(group * size, (group + 1) * size),
    );
    const part = await this.loadPart(this.layer);
    try {
      await mapInOrder({
        items: groups,
        concurrency: part.concurrency,
        signal,
        work: async (group) => {
          const streams = await Promise.all(group.map((place) => store.read(place)));
          const passed = await part.pass({ ...asked, streams });
          for (const [index, place] of group.entries()) await store.write(place, passed.streams[index]!);
          return passed;
        },
        onResult: (passed) => {
          onGroup(passed);
          // Results are held to the end: what was seen of the layer is not to be.
          Object.assign(passed, { streams: [], statistics: undefined, activations: undefined });
        },
      });
    } finally {
      part.dispose();
    }
    this.layer += 1;
  }
}
