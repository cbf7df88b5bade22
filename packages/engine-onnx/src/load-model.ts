import {
  type DecoderTensor,
  globalTensors,
  layerTensors,
  type ModelSource,
  type RunControl,
  readTensor,
  throwIfAborted,
} from '@kvlr/core';
import type { Tensor } from 'onnxruntime-node';
import { GraphSession, type Tensors } from './graph-session.ts';
import { embeddingGraph, headGraph, headTensors, isTable, layerGraph, layerKind } from './graphs/decoder-graphs.ts';
import { OnnxDecoder, type OnnxModel } from './onnx-decoder.ts';
import { requireOnnxRuntime } from './onnx-runtime.ts';

export interface OnnxModelSettings extends RunControl {
  /** Threads of one matrix product. Default: one a processor core. */
  threads?: number | undefined;
}

/**
 * Reads a model, of any family and cache layout, for ONNX Runtime on the CPU. Its weights are held once, as they lie in the file, in
 * float32: 4 bytes a parameter.
 *
 * @throws KvlrError 'backend-unavailable' without onnxruntime-node, 'tensor-missing', 'tensor-shape', 'non-finite', 'aborted'.
 */
export async function loadOnnxModel(source: ModelSource, settings: OnnxModelSettings = {}): Promise<OnnxModel> {
  const { threads, signal } = settings;
  const runtime = await requireOnnxRuntime();
  const { shape } = source;
  const sessions = new Map<string, Promise<GraphSession>>();
  const tensors = new Map<string, Tensor>();
  const read = async (wanted: readonly DecoderTensor[]): Promise<Tensors> => {
    const byRole: Tensors = {};
    for (const entry of wanted) {
      throwIfAborted(signal);
      // A tied table is there once.
      const name = source.tensorName(entry.role, entry.layer);
      const tensor = tensors.get(name) ?? new runtime.Tensor('float32', await readTensor(source, entry), entry.shape);
      tensors.set(name, tensor);
      byRole[entry.role] = tensor;
    }
    return byRole;
  };
  const open = (kind: string, graph: Parameters<typeof GraphSession.open>[1]) => {
    const session = sessions.get(kind) ?? GraphSession.open(runtime, graph, threads);
    sessions.set(kind, session);
    return session;
  };
  const globals = globalTensors(shape);
  const inEmbedding = globals.filter(({ part }) => part === 'embedding');
  const layers = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    const session = await open(layerKind(shape, layer), layerGraph(shape, layer));
    layers.push({ session, weights: await read(layerTensors(shape, layer)) });
  }
  return new OnnxDecoder({
    shape,
    runtime,
    tables: await read(inEmbedding.filter(({ role }) => isTable(role))),
    embedding: {
      session: await open('embedding', embeddingGraph(shape)),
      weights: await read(inEmbedding.filter(({ role }) => !isTable(role))),
    },
    layers,
    head: { session: await open('head', headGraph(shape)), weights: await read(headTensors(shape)) },
  });
}
