import {
  type DecoderShape,
  KvlrError,
  type ModelSource,
  type PositionShape,
  type RunControl,
  throwIfAborted,
} from '@kvlr/core';
import { ropeFrequencies } from '@kvlr/rope';
import type { ArchitectureDescriptor, GgufFamily } from '../architectures/architecture.ts';
import { architectures } from '../architectures/families.ts';
import { beyondStock, uniformKeyValueHeads } from '../config/native.ts';
import { alibiSlopes } from '../config/positions.ts';
import { modelShapeFromConfig } from '../config/read-config.ts';
import type { ByteSink } from '../files/files.ts';
import type { HuggingFaceCheckpoint } from '../model/open.ts';
import type { StoredTensor } from '../model/stored-tensors.ts';
import { encodeGgufFloats, type GgufDtype, ggufByteLength, ggufType } from './blocks.ts';
import { alignGguf, encodeGgufHeader, type GgufTensorPlan, type GgufValue, ggufFileTypes } from './format.ts';
import { configFromGguf, familiesOfArchitecture, ggufShapeMetadata, perLayerFamily } from './keys.ts';
import { ggufLayout, isPermuted, permuteHeads, scaleOffset } from './names.ts';
import { type RopeFactors, ropeFactorNames, ropeFactors } from './rope.ts';
import { ggufTokenizerMetadata } from './tokenizer.ts';

export interface GgufSettings extends RunControl {
  /** Type of the matrices; vectors are always F32. Default F32. */
  dtype?: GgufDtype;
  /** general.name of the file. */
  name?: string;
}

/**
 * Writes a model as one GGUF file for llama.cpp, from front to back, one tensor in memory at a time. `source` gives the
 * family and the tokenizer. Only stock grouped-query attention can be written; with another number of KV heads in each
 * layer, under the architecture 'deci', whose layers llama.cpp lets differ and which is otherwise a LLaMA. In Q4_0 embedding and
 * head are Q8_0, and rows that are no whole number of blocks F16.
 * Throws 'unsupported-feature' for other layouts, for families, settings and tokenizers that llama.cpp has not; 'numerical' on
 * overflow.
 */
export async function encodeGguf(
  model: ModelSource,
  source: HuggingFaceCheckpoint,
  sink: ByteSink,
  settings: GgufSettings = {},
): Promise<void> {
  await writePlanned(await planGguf(model, source, settings), sink, settings);
}

/** Writes what was planned, from front to back. */
export async function writePlanned(
  { metadata, tensors }: GgufPlan,
  sink: ByteSink,
  { signal, onEvent }: RunControl,
): Promise<void> {
  await sink.write(encodeGgufHeader(metadata, tensors));

  const total = ggufBytes(tensors);
  let completed = 0;
  for (const tensor of tensors) {
    throwIfAborted(signal);
    const bytes = encodeGgufFloats(tensor.dtype, await tensor.read(), tensor.name);
    await sink.write(bytes);
    await sink.write(new Uint8Array(alignGguf(bytes.length) - bytes.length));
    completed += bytes.length;
    onEvent?.({ type: 'progress', stage: 'write', completed, total, unit: 'bytes', detail: tensor.name });
  }
}

/** A tensor of the file and how its numbers are got when its turn comes. */
interface GgufTensor extends GgufTensorPlan {
  read(): Promise<Float32Array>;
}

export interface GgufPlan {
  metadata: Map<string, GgufValue>;
  tensors: GgufTensor[];
  /** Tokens of the longest text. */
  context: number;
}

/** A field by which files say that kvlr wrote them, and may replace them. It stands near the beginning. */
export const ggufMark = ['general.quantized_by', 'kvlr'] as const;

/** What a GGUF file of this model holds. Throws whatever would keep it from being written, but for numbers too large. */
export async function planGguf(
  model: ModelSource,
  source: HuggingFaceCheckpoint,
  { dtype = 'F32', name = 'model' }: GgufSettings = {},
): Promise<GgufPlan> {
  const { family, shape, metadata: ofShape, tensors } = planDecoder(model, source.architecture, dtype);
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: family.architecture }],
    [ggufMark[0], { type: 'string', value: ggufMark[1] }],
    ['general.name', { type: 'string', value: name }],
    ['general.file_type', { type: 'uint32', value: ggufFileTypes[dtype] }],
    ['general.quantization_version', { type: 'uint32', value: 2 }],
    ...ofShape,
    ...(await ggufTokenizerMetadata(source.files, shape.vocabSize)),
  ]);
  return { metadata, tensors, context: shape.maxPositionEmbeddings };
}

/** The decoder of such a file, without its tokenizer. Throws 'unsupported-feature' for what llama.cpp does not compute. */
export function planDecoder(
  model: ModelSource,
  architecture: ArchitectureDescriptor,
  dtype: GgufDtype,
): GgufPlan & { family: GgufFamily; shape: DecoderShape } {
  const beyond = beyondStock(model.shape);
  if (beyond !== undefined) {
    throw unsupported('stock grouped-query attention', beyond, 'Compress with a stock method to export it.');
  }
  const isUneven = uniformKeyValueHeads(model.shape) === undefined;
  const family = isUneven ? perLayerFamily : architecture.gguf;
  if (family === undefined) throw unsupported('a family that llama.cpp knows', model.shape.architecture);
  const shape = withinWindows(model.shape, family);
  const factors = ropeFactors(shape);
  const tensors = [...modelTensors(model, shape, { architecture, family, dtype }), ...factorTensors(factors)];
  const metadata = ggufShapeMetadata(shape, architecture, family);
  const readers = isUneven ? familiesOfArchitecture.deci!.map((name) => architectures.get(name)) : [architecture];
  requireReadable(shape, readers, { family, metadata, tensors, factors });
  return { family, shape, metadata, tensors, context: shape.maxPositionEmbeddings };
}

/** Size of the tensors. */
export function ggufBytes(tensors: readonly GgufTensorPlan[]): number {
  return tensors.reduce((sum, { dtype, shape }) => sum + ggufByteLength(ggufType(dtype), count(shape)), 0);
}

const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** A shape whose windows the architecture does not know, for texts that do not leave them: there nothing is hidden. */
function withinWindows(shape: DecoderShape, { keys = [] }: GgufFamily): DecoderShape {
  const windows = shape.layers.flatMap(({ window }) => window ?? []);
  if (windows.length === 0 || keys.includes('attention.sliding_window')) return shape;
  return {
    ...shape,
    maxPositionEmbeddings: Math.min(shape.maxPositionEmbeddings, ...windows),
    layers: shape.layers.map(({ window: _, ...layer }) => layer),
  };
}

interface Target {
  architecture: ArchitectureDescriptor;
  family: GgufFamily;
  dtype: GgufDtype;
}

function modelTensors(model: ModelSource, shape: DecoderShape, { architecture, family, dtype }: Target): GgufTensor[] {
  return ggufLayout(architecture, family, shape)
    .stored(shape)
    .map((stored) => ({
      name: stored.name,
      dtype: storedDtype(stored, dtype),
      shape: stored.shape,
      async read() {
        const values = new Float32Array(count(stored.shape));
        let place = 0;
        for (const part of stored.parts) {
          const read = await model.tensors.readFloat32(model.tensorName(part.role, part.layer));
          const rows = isPermuted(shape, family, part.role) ? permuteHeads(read, part, shape.headDim, 'file') : read;
          const offset = scaleOffset(shape, part.role);
          values.set(offset === 0 ? rows : rows.map((value) => value + offset), place);
          place += rows.length;
        }
        return values;
      },
    }));
}

/** Vectors stay F32, as llama.cpp wants them, and with them learned positions, as it writes them itself. */
function storedDtype({ shape, parts: [first] }: StoredTensor, dtype: GgufDtype): GgufDtype {
  const { role } = first!;
  if (shape.length === 1 || role.endsWith('Norm') || role === 'positionEmbedding') return 'F32';
  const isEnd = role === 'embedding' || role === 'languageModelHead';
  const wanted = dtype === 'Q4_0' && isEnd ? 'Q8_0' : dtype;
  return shape.at(-1)! % ggufType(wanted).blockSize === 0 ? wanted : 'F16';
}

function factorTensors(factors: RopeFactors): GgufTensor[] {
  return Object.entries(ropeFactorNames).flatMap(([which, name]): GgufTensor[] => {
    const values = factors[which as keyof RopeFactors];
    return values === undefined ? [] : [{ name, dtype: 'F32', shape: [values.length], read: async () => values }];
  });
}

interface Planned {
  family: GgufFamily;
  metadata: ReadonlyMap<string, GgufValue>;
  tensors: readonly GgufTensor[];
  factors: RopeFactors;
}

/** Reads the metadata back, as the architecture understands them, and refuses a model that would be another one for every reader. */
function requireReadable(
  shape: DecoderShape,
  [reader, ...others]: readonly ArchitectureDescriptor[],
  { family, metadata, tensors, factors }: Planned,
): void {
  if (factors.all !== undefined && !family.frequencyFactors) throw unsupportedRope(shape, family);
  if (factors.short !== undefined && family.architecture !== 'phi3') throw unsupportedRope(shape, family);
  const names = new Set(tensors.map(({ name }) => name));
  const facts = {
    metadata: new Map([...metadata].map(([key, { value }]) => [key, value])),
    has: (name: string) => names.has(name),
    vocabSize: shape.vocabSize,
    ropeFactors: factors,
  };
  const differenceOf = (descriptor: ArchitectureDescriptor) => {
    const read = modelShapeFromConfig(configFromGguf(facts, descriptor, family), descriptor);
    return difference(described(shape), described(read), []);
  };
  const other = differenceOf(reader!);
  if (other !== undefined && others.every((descriptor) => differenceOf(descriptor) !== undefined)) {
    throw unsupported(
      `${other.path.join('.')} to be ${JSON.stringify(other.read)}, as llama.cpp has it for ${family.architecture}`,
      JSON.stringify(other.wanted),
    );
  }
  const slopes = shape.layers[0]?.positions.kind === 'alibi' ? shape.layers[0].positions.slopes : undefined;
  const usual = alibiSlopes('bloom', shape.numAttentionHeads);
  if (slopes?.some((slope, head) => slope !== usual[head])) {
    throw unsupported('ALiBi with the slopes of the paper', `others for ${shape.numAttentionHeads} heads`);
  }
}

/**
 * A shape with what rotary positions do in place of how it is described; llama.cpp takes one approximation for each GELU. KV heads
 * are those of the layers.
 */
function described({ architecture: _, numKeyValueHeads: __, ...shape }: DecoderShape): unknown {
  const { activation } = shape.feedForward;
  const positionsOf = (positions: PositionShape) => {
    if (positions.kind !== 'rope') return positions;
    const { type } = positions.rope;
    const { frequencies, attentionFactor } = ropeFrequencies(positions.rope, positions.rotaryDim);
    const byLength = type === 'dynamic' ? { type } : {};
    return { ...positions, rope: { frequencies: [...frequencies], attentionFactor, ...byLength } };
  };
  return {
    ...shape,
    feedForward: { ...shape.feedForward, activation: activation === 'gelu' ? 'gelu_pytorch_tanh' : activation },
    layers: shape.layers.map((layer) => ({ ...layer, positions: positionsOf(layer.positions) })),
  };
}

/** The first entry in which two descriptions differ. Numbers may differ by what float32 rounds away. */
function difference(
  wanted: unknown,
  read: unknown,
  path: readonly string[],
): { path: readonly string[]; wanted: unknown; read: unknown } | undefined {
  if (typeof wanted === 'number' && typeof read === 'number') {
    return Math.abs(wanted - read) <= 1e-5 * Math.abs(wanted) ? undefined : { path, wanted, read };
  }
  if (typeof wanted !== 'object' || typeof read !== 'object' || wanted === null || read === null) {
    return wanted === read ? undefined : { path, wanted, read };
  }
  const [ours, theirs] = [wanted as Record<string, unknown>, read as Record<string, unknown>];
  for (const name of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
    const found = difference(ours[name], theirs[name], [...path, name]);
    if (found !== undefined) return found;
  }
  return undefined;
}

function unsupportedRope({ layers }: DecoderShape, { architecture, frequencyFactors }: GgufFamily): KvlrError {
  const positions = layers.find((layer) => layer.positions.kind === 'rope')?.positions;
  const type = positions?.kind === 'rope' ? positions.rope.type : 'none';
  const known = ['default', 'linear', 'yarn', ...(frequencyFactors ? ['llama3'] : [])];
  return unsupported(`${architecture} with RoPE of type ${known.join(' or ')}`, type);
}

function unsupported(expected: string, received: string, hint?: string): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: `expected ${expected}, got ${received}`,
    hint: hint ?? 'This model runs in kvlr; export it as a Hugging Face checkpoint instead.',
    data: { expected, received },
  });
}
