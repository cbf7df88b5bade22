import {
  type ModelSource,
  type RunControl,
  type TensorRole,
  type TrainedBlock,
  type TrainedValues,
  throwIfAborted,
} from '@kvlr/core';
import type { OnnxTrainedHead, OnnxTrainedLayer } from './decoder-parts.ts';
import { OnnxDecoder } from './onnx-decoder.ts';
import type { OnnxSettings } from './onnx-settings.ts';

/** A decoder in training: its layers and its head forwards and backwards, in float32. Calls come one after another. */
export interface OnnxTrainingModel extends OnnxTrainedHead {
  /** The streams of a window before each layer and behind the last, [tokens, hiddenSize]. */
  streams(tokenIds: Int32Array, trained: readonly TrainedValues[]): Promise<Float32Array[]>;
  /** Gradients through one layer: see `OnnxTrainedLayer`. */
  gradients(
    layer: number,
    ...given: Parameters<OnnxTrainedLayer['gradients']>
  ): ReturnType<OnnxTrainedLayer['gradients']>;
  /** Frees weights and sessions. */
  dispose(): void;
}

/**
 * Loads a decoder of any family and cache layout for training on ONNX Runtime: 4 bytes for each number that is not trained.
 *
 * @param roles Matrices that each layer trains, by layer: their values come with every call. Of a model that is only run, none.
 * @throws KvlrError what `OnnxDecoder.open`, its `loadTrainedLayer` and `loadTrainedHead` throw, 'aborted'.
 */
export async function loadOnnxTrainingModel(
  source: ModelSource,
  roles: readonly (readonly TensorRole[])[],
  given: OnnxSettings & Pick<RunControl, 'signal'> = {},
): Promise<OnnxTrainingModel> {
  const { signal, ...settings } = given;
  const decoder = await OnnxDecoder.open(source, settings);
  const embedding = await decoder.loadEmbedding();
  const layers: OnnxTrainedLayer[] = [];
  for (let layer = 0; layer < source.shape.numLayers; layer++) {
    throwIfAborted(signal);
    layers.push(await decoder.loadTrainedLayer(layer, roles[layer] ?? []));
  }
  const head = await decoder.loadTrainedHead();
  return {
    ...head,
    async streams(tokenIds, trained) {
      const streams = [await embedding.stream(tokenIds)];
      for (const [index, layer] of layers.entries()) {
        streams.push(await layer.pass(streams[index]!, trained[index] ?? new Map()));
      }
      return streams;
    },
    gradients: (layer, ...inputs) => layers[layer]!.gradients(...inputs),
    dispose: () => decoder.close(),
  };
}

/**
 * Loads one layer's attention for training on ONNX Runtime; the caller disposes it. Threads of one product wait for each other, which on
 * a machine with other work takes longer than one alone: unless their number is given, the first window tells which is faster now.
 *
 * @param roles What is trained: its values come with every call.
 * @throws KvlrError what `OnnxDecoder.open` and its `loadTrainedBlock` throw.
 */
export async function loadOnnxTrainedBlock(
  source: ModelSource,
  layer: number,
  roles: readonly TensorRole[],
  settings: OnnxSettings = {},
): Promise<TrainedBlock> {
  const open = async (given: OnnxSettings): Promise<TrainedBlock> => {
    const decoder = await OnnxDecoder.open(source, given);
    return { ...(await decoder.loadTrainedBlock(layer, roles)), dispose: () => decoder.close() };
  };
  if (settings.threads !== undefined) return open(settings);
  const blocks = [await open(settings), await open({ ...settings, threads: 1 })] as const;
  let chosen: Promise<TrainedBlock> | undefined;
  const choose = (...window: Parameters<TrainedBlock['error']>) => {
    chosen ??= fasterBlock(blocks, window);
    return chosen;
  };
  return {
    error: async (...given) => (await choose(...given)).error(...given),
    gradients: async (...given) => (await choose(...given)).gradients(...given),
    moments: async (...given) => (await choose(...given)).moments(...given),
    dispose() {
      for (const block of blocks) block.dispose();
    },
  };
}

/** Passes by which blocks are compared, in turns: another program may have the processor during any of them. */
const comparedPasses = 3;
/** What all threads have to save to be taken: what they wait for each other grows as soon as the machine gets other work. */
const worthwhileShare = 0.8;

/** Of a block with all threads and one with a single one, that which a window passes in less time; the first pass makes the graph. */
async function fasterBlock(
  blocks: readonly [together: TrainedBlock, alone: TrainedBlock],
  window: Parameters<TrainedBlock['error']>,
): Promise<TrainedBlock> {
  const times = blocks.map(() => 0);
  for (let pass = 0; pass <= comparedPasses; pass++) {
    for (const [place, block] of blocks.entries()) {
      const started = performance.now();
      await block.error(...window);
      if (pass > 0) times[place]! += performance.now() - started;
    }
  }
  return times[0]! < worthwhileShare * times[1]! ? blocks[0] : blocks[1];
}
