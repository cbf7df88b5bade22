import { KvlrError, layerRope, type ModelSource, type RunControl, throwIfAborted } from '@kvlr/core';
import type { GgufFamily } from '../architectures/architecture.ts';
import { beyondLlama } from '../config/llama-kind.ts';
import { beyondStock, uniformKeyValueHeads } from '../config/native.ts';
import { encodeFloats, tensorByteLength, type WeightDtype } from '../dtypes.ts';
import type { ByteSink } from '../files/files.ts';
import type { HuggingFaceCheckpoint } from '../model/open.ts';
import { alignGguf, encodeGgufHeader } from './format.ts';
import { ggufModelMetadata, ggufTensors } from './model.ts';
import { ggufTokenizerMetadata } from './tokenizer.ts';

export interface GgufSettings extends RunControl {
  /** Type of the matrices; vectors are always F32. Default F32. */
  dtype?: WeightDtype;
  /** general.name of the file. */
  name?: string;
}

/**
 * Writes a model as one GGUF file for llama.cpp, from front to back, one tensor in memory at a time. `source` gives the
 * family and the tokenizer. Only stock grouped-query attention can be written; with another number of KV heads in each
 * layer, under the architecture 'deci', whose layers llama.cpp lets differ and which is otherwise a LLaMA.
 * Throws 'unsupported-feature' for other layouts, families, activations and tokenizers; 'numerical' on overflow.
 */
export async function encodeGguf(
  model: ModelSource,
  source: HuggingFaceCheckpoint,
  sink: ByteSink,
  settings: GgufSettings = {},
): Promise<void> {
  const { dtype = 'F32', name = 'model', signal, onEvent } = settings;
  const keyValueHeads = requireStockHeads(model);
  const family = uniformKeyValueHeads(model.shape) === undefined ? perLayerFamily : requireFamily(model, source);
  requireSettings(model, family);
  const tensors = ggufTensors(model, family, dtype);
  const metadata = new Map([
    ...ggufModelMetadata(model.shape, family, { name, dtype, keyValueHeads }),
    ...(await ggufTokenizerMetadata(source.files, model.shape.vocabSize)),
  ]);
  await sink.write(encodeGgufHeader(metadata, tensors));

  const total = tensors.reduce((sum, tensor) => sum + tensorByteLength(tensor.dtype, tensor.shape), 0);
  let completed = 0;
  for (const tensor of tensors) {
    throwIfAborted(signal);
    const bytes = encodeFloats(tensor.dtype, await tensor.read(), tensor.name);
    await sink.write(bytes);
    await sink.write(new Uint8Array(alignGguf(bytes.length) - bytes.length));
    completed += bytes.length;
    onEvent?.({ type: 'progress', stage: 'write', completed, total, unit: 'bytes', detail: tensor.name });
  }
}

/** llama.cpp's name for a LLaMA whose layers may differ in their heads. */
const perLayerFamily: GgufFamily = { architecture: 'deci', rowOrder: 'interleaved', frequencyFactors: true };

function requireFamily({ shape }: ModelSource, { architecture: { gguf: family } }: HuggingFaceCheckpoint): GgufFamily {
  if (family === undefined) throw unsupported('a family that llama.cpp knows', shape.architecture);
  return family;
}

function requireSettings({ shape }: ModelSource, family: GgufFamily): void {
  const beyond = beyondLlama(shape);
  if (beyond !== undefined) throw unsupported("a decoder of LLaMA's kind", beyond);
  const { activation } = shape.feedForward;
  if (activation !== 'silu') throw unsupported('the activation silu', activation);
  const { type } = layerRope(shape, 0)!.rope;
  const known = ['default', 'linear', ...(family.frequencyFactors ? ['llama3'] : [])];
  if (!known.includes(type)) throw unsupported(`${family.architecture} with RoPE of type ${known.join(' or ')}`, type);
}

/** KV heads of each layer. */
function requireStockHeads({ shape }: ModelSource): number[] {
  const beyond = beyondStock(shape);
  if (beyond !== undefined) {
    throw unsupported('stock grouped-query attention', beyond, 'Compress with a stock method to export it.');
  }
  return shape.layers.map(({ cache }) => cache.keySlots);
}

function unsupported(expected: string, received: string, hint?: string): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: `expected ${expected}, got ${received}`,
    hint: hint ?? 'This model runs in kvlr; export it as a Hugging Face checkpoint instead.',
    data: { expected, received },
  });
}
