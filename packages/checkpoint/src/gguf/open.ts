import { type DecoderShape, KvlrError, type Tokenizer } from '@kvlr/core';
import type { ArchitectureDescriptor, GgufFamily } from '../architectures/architecture.ts';
import { architectures } from '../architectures/families.ts';
import { modelShapeFromConfig } from '../config/read-config.ts';
import { isTensorDtype, torchDtypeName, type WeightDtype } from '../dtypes.ts';
import { type CheckpointFiles, fileMissing, sliceBytes } from '../files/files.ts';
import { checkTensors } from '../model/checkpoint-tensors.ts';
import { type HuggingFaceCheckpoint, modelId, type OpenCheckpointSettings } from '../model/open.ts';
import { type TensorLayout, tensorLayout } from '../model/stored-tensors.ts';
import { loadTokenizer } from '../tokenizer.ts';
import { unreadableType } from './blocks.ts';
import { configFromGguf, familiesOfArchitecture, perLayerFamily } from './keys.ts';
import { fusedInFile, ggufLayout } from './names.ts';
import { ropeFactorNames } from './rope.ts';
import { type GgufSource, openGgufSource } from './source.ts';
import { GgufTensors } from './tensors.ts';
import { ggufTokenizerFiles } from './tokenizer-files.ts';

/**
 * Opens a GGUF file as a checkpoint: its metadata become the config and the tokenizer files that the same model has in Hugging
 * Face form, its tensors those under their names there. Quantised weights are read as float32, row by row.
 * Throws KvlrError 'file-missing', 'file-truncated', 'file-malformed', 'unknown-architecture', 'unsupported-feature',
 * 'tensor-missing', 'tensor-shape'.
 */
export async function openGguf(
  files: CheckpointFiles,
  file: string,
  settings: OpenCheckpointSettings = {},
): Promise<HuggingFaceCheckpoint> {
  const source = await openGgufSource(files, file);
  requireWhole(source);
  const found = await recognise(source, settings.architectures ?? []);
  const { architecture, family, config: shapeConfig, shape, inFile } = found;
  const { secondNorm } = family;
  const isOfBoth = (name: string) => secondNorm?.namesOfBoth.some((part) => name.includes(part)) ?? false;
  const layout = tensorLayout(
    architecture,
    shape.head.tied,
    (name) => shape.blocks.before === 'each' && isOfBoth(name),
  );
  const tensors = new GgufTensors(source, shape, { family, inFile, layout });
  const location = `${files.location.replace(/\/$/, '')}/${file}`;
  const dtype = writtenDtype(source);
  const { tokenIds, contents } = ggufTokenizerFiles(source.metadata, location);
  const card = modelCard(source.metadata.get('general.license'));
  const config = { ...shapeConfig, ...tokenIds, torch_dtype: torchDtypeName(dtype) };
  const ownFiles = createMadeFiles(location, { ...contents, ...card, 'config.json': () => json(config) });
  let tokenizer: Promise<Tokenizer> | undefined;
  return {
    id: await modelId(config, {
      list: () => source.entries().map((entry) => ({ ...entry, dtype: entry.type.name })),
      readByteRange: (name, from, to) => source.readByteRange(name, from, to),
    }),
    location,
    files: ownFiles,
    architecture,
    layout,
    config,
    shape,
    writtenDtype: dtype,
    ...quantisation(source),
    tensors,
    tensorName: layout.tensorName,
    tokenizer: () => {
      tokenizer ??= loadTokenizer(ownFiles, shape.vocabSize);
      return tokenizer;
    },
    close: () => source.close(),
  };
}

/** Refuses a GGUF file that `openGguf` would refuse, by its header alone. Throws what it throws. */
export async function requireReadableGguf(
  files: CheckpointFiles,
  file: string,
  architectures: readonly ArchitectureDescriptor[],
): Promise<void> {
  const source = await openGgufSource(files, file);
  requireWhole(source);
  await recognise(source, architectures);
}

interface Recognised {
  architecture: ArchitectureDescriptor;
  family: GgufFamily;
  config: Record<string, unknown>;
  shape: DecoderShape;
  inFile: TensorLayout;
}

/** The family whose models have such metadata and tensors: of several of one architecture the first that fits. */
async function recognise(source: GgufSource, additional: readonly ArchitectureDescriptor[]): Promise<Recognised> {
  const name = source.metadata.get('general.architecture');
  // A family that is like another one has its architecture, too: the built-in one is meant.
  const known = [...Object.values(architectures.entries), ...additional];
  const own = known.filter(({ gguf }) => gguf !== undefined && gguf.architecture === name);
  const others = (familiesOfArchitecture[String(name)] ?? []).map((family) => architectures.get(family));
  const [first, ...more] = [...own, ...others];
  if (first === undefined) throw unknownArchitecture(source, name, known);
  const family = own[0]?.gguf ?? perLayerFamily;
  try {
    return await fit(source, first, family);
  } catch (error) {
    for (const descriptor of more) {
      const found = await fit(
        source,
        descriptor,
        descriptor.gguf?.architecture === name ? descriptor.gguf! : family,
      ).catch(() => undefined);
      if (found !== undefined) return found;
    }
    throw error;
  }
}

async function fit(source: GgufSource, architecture: ArchitectureDescriptor, family: GgufFamily): Promise<Recognised> {
  const has = (name: string) => source.has(name);
  const factors = async (name: string) => (has(name) ? source.readRows(name) : undefined);
  const facts = {
    metadata: source.metadata,
    has,
    vocabSize: source.entry('token_embd.weight').shape[0]!,
    ropeFactors: {
      all: await factors(ropeFactorNames.all),
      short: await factors(ropeFactorNames.short),
      long: await factors(ropeFactorNames.long),
    },
  };
  const config = configFromGguf(facts, architecture, family);
  const shape = modelShapeFromConfig(config, architecture);
  const fused = fusedInFile(has, shape.feedForward.gated);
  const inFile = ggufLayout(architecture, { ...family, fused }, shape);
  const stored = inFile.stored(shape);
  checkTensors(stored, { info: (name) => ({ ...source.entry(name), dtype: source.dtype(name) }) }, source.file);
  for (const { name } of stored) {
    const { type } = source.entry(name);
    if (type.decode === undefined) throw unreadableType(type).with({ file: source.file, tensor: name });
  }
  return { architecture, family, config, shape, inFile };
}

/** The type in which a checkpoint is written from this file: that of its matrices, or F16 for quantised ones. */
function writtenDtype(source: GgufSource): WeightDtype {
  const matrices = source.entries().filter(({ shape }) => shape.length > 1);
  const names = new Set(matrices.map(({ type }) => type.name));
  if ([...names].some((name) => !isTensorDtype(name) || name === 'F16')) return 'F16';
  return names.has('BF16') ? 'BF16' : 'F32';
}

/** The type of most of the quantised matrices. */
function quantisation(source: GgufSource): { quantisedAs?: string } {
  const counts = new Map<string, number>();
  for (const { type } of source.entries()) {
    if (!isTensorDtype(type.name)) counts.set(type.name, (counts.get(type.name) ?? 0) + 1);
  }
  const [most] = [...counts].sort((a, b) => b[1] - a[1]);
  return most === undefined ? {} : { quantisedAs: most[0] };
}

/** Files that are made when they are read. */
function createMadeFiles(location: string, contents: Readonly<Record<string, () => string>>): CheckpointFiles {
  const made = new Map<string, Uint8Array>();
  const contentOf = (name: string): Uint8Array => {
    const make = Object.hasOwn(contents, name) ? contents[name] : undefined;
    if (make === undefined) throw fileMissing(location, name);
    const bytes = made.get(name) ?? new TextEncoder().encode(make());
    made.set(name, bytes);
    return bytes;
  };
  return {
    location,
    list: async () => Object.keys(contents),
    size: async (name) => contentOf(name).length,
    read: async (name, start, end) => sliceBytes(location, name, contentOf(name), start, end),
  };
}

/** Throws 'unsupported-feature' for one of several parts. */
function requireWhole({ metadata, file }: GgufSource): void {
  const parts = metadata.get('split.count');
  if (typeof parts !== 'number' || parts <= 1) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a whole model, got one of ${parts} parts`,
    hint: 'Join them first with llama.cpp: llama-gguf-split --merge FIRST-PART.gguf OUT.gguf.',
    where: { file },
    data: { file, parts },
  });
}

function unknownArchitecture(
  { file }: GgufSource,
  received: unknown,
  descriptors: readonly ArchitectureDescriptor[],
): KvlrError {
  const known = [...new Set(descriptors.flatMap(({ gguf }) => gguf?.architecture ?? []))];
  return new KvlrError('unknown-architecture', {
    message: `expected one of ${known.join(', ')}, got ${String(received)}`,
    hint: 'Use a model of a known family, or its checkpoint in Hugging Face form.',
    where: { file, argument: 'general.architecture' },
    data: { file, received, known },
  });
}

/** A model card that says the licence, where the file says one. */
function modelCard(licence: unknown): Record<string, () => string> {
  if (typeof licence !== 'string' || !/^[\w.-]+$/.test(licence)) return {};
  return { 'README.md': () => `---\nlicense: ${licence}\n---\n` };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
