import { type DecoderShape, KvlrError, type ModelSource } from '@kvlr/core';
import type { ArchitectureDescriptor } from './architectures/architecture.ts';
import { nativeReason } from './config/write-config.ts';
import { planDecoder } from './gguf/export.ts';
import { tensorLayout } from './model/stored-tensors.ts';
import { decoderGraph } from './onnx/decoder.ts';

/** What loads a checkpoint of some shape, known from the shape alone. */
export interface LoadsInto {
  /** Why kvlr alone loads its files; absent where the family's own classes do, in every engine that has the family. */
  nativeReason?: string;
  /** Why there is no GGUF of it for llama.cpp, whatever its tokenizer; absent where there is one. */
  ggufReason?: string;
  /** The same of ONNX for transformers.js and ONNX Runtime. */
  onnxReason?: string;
}

/** What a checkpoint of this shape and family will load into, before it is computed. */
export function loadsInto(
  shape: DecoderShape,
  architecture: ArchitectureDescriptor,
  config?: Record<string, unknown>,
): LoadsInto {
  const native = nativeReason(shape, architecture, config);
  const model = withoutTensors(shape, architecture);
  const gguf = refusalOf(() => planDecoder(model, architecture, 'F32'));
  const onnx = refusalOf(() => decoderGraph(model, 'F32'));
  return {
    ...(native !== undefined && { nativeReason: native }),
    ...(gguf !== undefined && { ggufReason: gguf }),
    ...(onnx !== undefined && { onnxReason: onnx }),
  };
}

/** What `loadsInto` says, in a line: the engines, and why there are no more. */
export function describeEngines({ nativeReason: native, ggufReason, onnxReason }: LoadsInto): string {
  if (native !== undefined && ggufReason === undefined) return `kvlr, and llama.cpp through GGUF (${native})`;
  if (native !== undefined) return `kvlr only (${native})`;
  const engines = [
    'transformers and engines that load its checkpoints',
    ...(ggufReason === undefined ? ['llama.cpp through GGUF'] : []),
    ...(onnxReason === undefined ? ['ONNX Runtime through ONNX'] : []),
  ];
  return engines.join('; ');
}

/** A model of which nothing but its shape and names may be asked. */
function withoutTensors(shape: DecoderShape, architecture: ArchitectureDescriptor): ModelSource {
  const { tensorName } = tensorLayout(architecture, shape.head.tied);
  const none = async () => {
    throw new KvlrError('tensor-missing', { message: 'expected a model with tensors, got a shape alone' });
  };
  const info = (name: string) => ({ name, dtype: 'F32' as const, shape: [], byteLength: 0 });
  const tensors = { list: () => [], has: () => false, info, readBytes: none, readFloat32: none, close: async () => {} };
  return { id: '', shape, tensorName, tensors };
}

function refusalOf(plan: () => unknown): string | undefined {
  try {
    plan();
    return undefined;
  } catch (error) {
    if (KvlrError.isInstance(error) && error.code === 'unsupported-feature') return error.reason;
    throw error;
  }
}
