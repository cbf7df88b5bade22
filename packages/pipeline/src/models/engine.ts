import { type ActivationSource, type EventListener, KvlrError, type LogitSource, type ModelSource } from '@kvlr/core';
import type { NativeTraining } from '@kvlr/recovery';
import type { BackendName, HeadOnDevice, LayerOnDevice } from '@kvlr/runtime';

/**
 * What runs windows of text: statistics, recordings, evaluation, and what is trained: blocks, and layers end to end. Adapters are trained
 * on TensorFlow.js.
 */
export type EngineChoice = 'auto' | 'tfjs' | 'onnx';

/** Port: native code that runs windows. `onnxEngine` of `@kvlr/pipeline/node` is one. */
export interface NativeEngine {
  readonly name: 'onnx';
  /** What it is, or why it cannot run here, in words. */
  look(): Promise<{ version: string } | { missing: string }>;
  /** Loads a whole model of any shape; the caller disposes it. */
  load(source: ModelSource): Promise<ActivationSource & LogitSource & Partial<BranchSource> & { dispose(): void }>;
  /** A model of which one part at a time is loaded; the caller disposes each. */
  open(source: ModelSource): Promise<ModelParts>;
  /** Layers forwards and backwards. */
  training?: NativeTraining;
}

/** Runs texts with one beginning together, the beginning once. */
export interface BranchSource {
  /** Logits of rows, counted over the beginning and then branch after branch, [rows, vocabSize]. */
  branchLogits(
    window: { prefix: Int32Array; branches: readonly Int32Array[] },
    rows: readonly number[],
  ): Promise<Float32Array>;
}

/** A model of which layers and head are loaded when they are needed, one at a time. */
export interface ModelParts {
  loadLayer(layer: number): Promise<LayerOnDevice>;
  loadHead(): Promise<HeadOnDevice>;
}

export interface EngineRequest {
  /** Default 'auto': native code where it can run and there is no GPU, else TensorFlow.js. */
  engine?: EngineChoice;
  /** Absent where there is none, as in browsers. */
  nativeEngine?: NativeEngine | undefined;
}

/**
 * Native code, or undefined for TensorFlow.js; `reason` says why, for people.
 *
 * @throws KvlrError 'backend-unavailable' when 'onnx' is asked for and cannot run.
 */
export async function chooseEngine(
  { engine = 'auto', nativeEngine }: EngineRequest,
  backend: BackendName,
  onEvent?: EventListener,
): Promise<{ native?: NativeEngine; reason: string }> {
  if (engine === 'tfjs') return { reason: 'TensorFlow.js, as asked' };
  if (engine === 'auto' && backend === 'webgpu') return { reason: 'TensorFlow.js, on the GPU' };
  const found = nativeEngine ? await nativeEngine.look() : { missing: 'there is no native code here' };
  if ('version' in found) {
    const reason = `ONNX Runtime ${found.version}${engine === 'onnx' ? ', as asked' : ', native code'}`;
    onEvent?.({ type: 'note', message: `Windows run on ${reason}`, data: { engine: 'onnx', version: found.version } });
    return { native: nativeEngine, reason };
  }
  if (engine === 'auto') return { reason: `TensorFlow.js: ${found.missing}` };
  throw new KvlrError('backend-unavailable', {
    message: `expected ONNX Runtime, but ${found.missing}`,
    hint: 'Install onnxruntime-node beside kvlr, or let another engine run the windows.',
    where: { argument: 'engine' },
    data: { engine, reason: found.missing },
  });
}
