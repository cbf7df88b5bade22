import { KvlrError, type ModelSource, type RunControl, throwIfAborted } from '@kvlr/core';
import { chatTemplateField, readChatTemplates } from '../chat-templates.ts';
import { configFromModelShape, nativeReason } from '../config/write-config.ts';
import { auxiliaryFiles, type ByteSink, type CheckpointFiles, fileMissing, readSpelledJson } from '../files/files.ts';
import { formatJson, type ParsedJson } from '../files/json.ts';
import type { HuggingFaceCheckpoint } from '../model/open.ts';
import { decoderGraph } from './decoder.ts';
import {
  type ExternalPlace,
  encodeNode,
  encodeTensorHeader,
  encodeValue,
  type OnnxGraph,
  type OnnxTensor,
  onnxByteLength,
  ProtobufWriter,
} from './format.ts';
import { onnxContext } from './positions.ts';
import { activationDtype, type OnnxWeightDtype } from './weights.ts';

export interface OnnxSettings extends RunControl {
  /** Type of weights, and of activations and cache (F32 under Q4_0); logits are always F32. Default F32. */
  dtype?: OnnxWeightDtype;
  /**
   * A model whose weights take more bytes keeps them beside the model file, in parts of at most so many (a larger tensor has
   * a part to itself). Protocol Buffers end at 2 GB, and so do a browser's buffers. Default 1.9 GB.
   */
  maxFileBytes?: number;
}

/** A file of the export: its size is known before it is written, from front to back, one tensor at a time. */
export interface OnnxFile {
  name: string;
  byteLength: number;
  write(sink: ByteSink): Promise<void>;
}

/** What transformers.js calls the types. */
const names: Record<OnnxWeightDtype, { dtype: string; suffix: string }> = {
  F32: { dtype: 'fp32', suffix: '' },
  F16: { dtype: 'fp16', suffix: '_fp16' },
  Q4_0: { dtype: 'q4', suffix: '_q4' },
};

/** Weights in a file of their own begin at whole pages, so that they can be mapped into memory. */
const pageBytes = 4096;

/**
 * A model as ONNX, one file or several: `model.onnx` (F32), `model_fp16.onnx` (F16) or `model_q4.onnx` (Q4_0), and where the weights are too large
 * for one file `..._data`, `..._data_1` and so on, as transformers.js names them. See `decoderGraph` for the graph.
 * Throws 'unsupported-feature' for layouts other than stock grouped-query attention; writing throws 'numerical' where a
 * weight is too large for F16, and 'aborted'.
 */
export function onnxFiles(model: ModelSource, settings: OnnxSettings = {}): OnnxFile[] {
  const { dtype = 'F32', maxFileBytes = 1_900_000_000 } = settings;
  const graph = decoderGraph(model, dtype);
  const name = `model${names[dtype].suffix}.onnx`;
  const total = byteLengthOf(graph.tensors);
  const progress = createProgress(total, settings);
  if (total <= maxFileBytes) return [modelFile(name, graph, new Map(), progress)];
  const parts = planParts(graph.tensors, maxFileBytes);
  const places = new Map(
    parts.flatMap((part, number) =>
      part.map(({ tensor, offset }) => [tensor, { file: partName(name, number), offset }] as const),
    ),
  );
  return [
    modelFile(name, graph, places, progress),
    ...parts.map((part, number) => dataFile(partName(name, number), part, progress)),
  ];
}

/** A graph as one file, its constants inside it. */
export function graphFile(name: string, graph: OnnxGraph): OnnxFile {
  return modelFile(name, graph, new Map(), () => {});
}

type Progress = (tensor: OnnxTensor) => void;

/** ModelProto. The graph is its last field, and the tensors are the graph's last, so that they can follow one by one. */
function modelFile(
  name: string,
  graph: OnnxGraph,
  places: ReadonlyMap<OnnxTensor, ExternalPlace>,
  progress: Progress,
): OnnxFile {
  const graphStart = new ProtobufWriter();
  for (const node of graph.nodes) graphStart.message(1, encodeNode(node));
  graphStart.string(2, 'decoder');
  for (const input of graph.inputs) graphStart.message(11, encodeValue(input));
  for (const output of graph.outputs) graphStart.message(12, encodeValue(output));
  const tensors = graph.tensors.map((tensor) => {
    const place = places.get(tensor);
    const header = encodeTensorHeader(tensor, place);
    const inside = place === undefined ? onnxByteLength(tensor) : 0;
    const announced = new ProtobufWriter().header(5, header.length + inside).finish();
    return { tensor, inside, start: [announced, header] };
  });
  const start = graphStart.finish();
  const graphBytes = tensors.reduce(
    (sum, { inside, start: pieces }) => sum + inside + pieces[0]!.length + pieces[1]!.length,
    start.length,
  );
  const head = new ProtobufWriter().integer(1, 10).string(2, 'kvlr');
  for (const [domain, version] of Object.entries({ '': 21, 'com.microsoft': 1 })) {
    head.message(8, new ProtobufWriter().string(1, domain).integer(2, version));
  }
  const headBytes = head.header(7, graphBytes).finish();
  return {
    name,
    byteLength: headBytes.length + graphBytes,
    async write(sink) {
      await sink.write(headBytes);
      await sink.write(start);
      for (const { tensor, inside, start: pieces } of tensors) {
        for (const piece of pieces) await sink.write(piece);
        if (inside === 0) continue;
        await tensor.write(sink);
        progress(tensor);
      }
    },
  };
}

interface PlacedTensor {
  tensor: OnnxTensor;
  offset: number;
}

/** Cuts the large tensors, in order, into files; what fits into a page stays in the model file. */
function planParts(tensors: readonly OnnxTensor[], maxFileBytes: number): PlacedTensor[][] {
  const parts: PlacedTensor[][] = [];
  let end = Number.POSITIVE_INFINITY;
  for (const tensor of tensors) {
    const bytes = onnxByteLength(tensor);
    if (bytes <= pageBytes) continue;
    let offset = Math.ceil(end / pageBytes) * pageBytes;
    if (offset + bytes > maxFileBytes) {
      parts.push([]);
      offset = 0;
    }
    parts.at(-1)!.push({ tensor, offset });
    end = offset + bytes;
  }
  return parts;
}

function dataFile(name: string, part: readonly PlacedTensor[], progress: Progress): OnnxFile {
  const last = part.at(-1)!;
  return {
    name,
    byteLength: last.offset + onnxByteLength(last.tensor),
    async write(sink) {
      let position = 0;
      for (const { tensor, offset } of part) {
        await sink.write(new Uint8Array(offset - position));
        await tensor.write(sink);
        position = offset + onnxByteLength(tensor);
        progress(tensor);
      }
    },
  };
}

function partName(modelName: string, number: number): string {
  return `${modelName}_data${number === 0 ? '' : `_${number}`}`;
}

function createProgress(total: number, { onEvent, signal }: RunControl): Progress {
  let completed = 0;
  return (tensor) => {
    throwIfAborted(signal);
    completed += onnxByteLength(tensor);
    onEvent?.({ type: 'progress', stage: 'write', completed, total, unit: 'bytes', detail: tensor.name });
  };
}

function byteLengthOf(tensors: readonly OnnxTensor[]): number {
  return tensors.reduce((sum, tensor) => sum + onnxByteLength(tensor), 0);
}

/**
 * The files beside the graph: the source's tokenizer and generation files, and config.json with the heads of the model and
 * a section for transformers.js: which file to take, the type of the cache, and how many parts hold the weights.
 * Throws 'file-missing' without a tokenizer.json, what loading it throws, 'unsupported-feature' for a model that its family's classes do not hold.
 */
export async function onnxSmallFiles(
  model: ModelSource,
  source: HuggingFaceCheckpoint,
  files: readonly OnnxFile[],
  dtype: OnnxWeightDtype,
): Promise<Record<string, Uint8Array>> {
  requireStock(model, source);
  const copied = await auxiliaryFiles(source.files);
  if (!('tokenizer.json' in copied)) throw fileMissing(source.location, 'tokenizer.json');
  await source.tokenizer();
  const dtypeName = activationDtype(dtype) === 'F32' ? 'float32' : 'float16';
  const context = onnxContext(model.shape);
  const [main, ...parts] = files;
  const config = {
    ...configFromModelShape(model.shape, source.architecture, dtypeName, source.config),
    ...(context < model.shape.maxPositionEmbeddings && { max_position_embeddings: context }),
    'transformers.js_config': {
      dtype: names[dtype].dtype,
      kv_cache_dtype: { fp16: 'float16' },
      ...(parts.length > 0 && { use_external_data_format: { [main!.name]: parts.length } }),
    },
  };
  return {
    ...copied,
    ...(await tokenizerConfig(source.files)),
    'config.json': encodeJson(config, await readSpelledJson(source.files, 'config.json')),
  };
}

/** Throws 'unsupported-feature' for what config.json can only say of kvlr's own models. */
function requireStock(model: ModelSource, { architecture, config }: HuggingFaceCheckpoint): void {
  const reason = nativeReason(model.shape, architecture, config);
  if (reason === undefined) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a model that transformers.js has a class for, got one for kvlr only: ${reason}`,
    hint: 'This model runs in kvlr, and in llama.cpp where it has the family.',
    data: { received: reason },
  });
}

/**
 * tokenizer_config.json with the chat templates in it, where it lacks them: transformers.js finds them nowhere else. It looks for the
 * file, and can do without what else would stand in it.
 */
async function tokenizerConfig(files: CheckpointFiles): Promise<Record<string, Uint8Array>> {
  const name = 'tokenizer_config.json';
  const isThere = (await files.list()).includes(name);
  const given = isThere ? await readSpelledJson(files, name) : undefined;
  const config = (given?.value ?? { tokenizer_class: 'PreTrainedTokenizerFast' }) as Record<string, unknown>;
  const templates = await readChatTemplates(files);
  const field = templates.size === 0 ? undefined : chatTemplateField(templates);
  if (isThere && JSON.stringify(config.chat_template) === JSON.stringify(field)) return {};
  return { [name]: encodeJson({ ...config, ...(field !== undefined && { chat_template: field }) }, given) };
}

function encodeJson(value: unknown, source?: ParsedJson): Uint8Array {
  return new TextEncoder().encode(formatJson(value, source));
}
