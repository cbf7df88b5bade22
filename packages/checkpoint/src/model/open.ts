import { type Checkpoint, canonicalJson, KvlrError, type RunControl, sha256, type Tokenizer } from '@kvlr/core';
import type { ArchitectureDescriptor } from '../architectures/architecture.ts';
import { findArchitecture } from '../architectures/families.ts';
import { decodeNativeConfig } from '../config/native.ts';
import { modelShapeFromConfig } from '../config/read-config.ts';
import { type CheckpointFiles, readJsonObject } from '../files/files.ts';
import { openSafetensors } from '../safetensors/read.ts';
import { loadTokenizer } from '../tokenizer.ts';
import { believeTensors } from './believe-tensors.ts';
import { CheckpointTensors, checkTensors } from './checkpoint-tensors.ts';
import { type TensorLayout, tensorLayout } from './stored-tensors.ts';
import { unwrapNames } from './wrapped-names.ts';

/** A checkpoint in Hugging Face form, with its files and the family it belongs to. */
export interface HuggingFaceCheckpoint extends Checkpoint {
  readonly files: CheckpointFiles;
  readonly architecture: ArchitectureDescriptor;
  /** Where its tensors lie in the files. */
  readonly layout: TensorLayout;
}

export interface OpenCheckpointSettings extends Pick<RunControl, 'onEvent'> {
  /** Model families besides the built-in ones. */
  architectures?: readonly ArchitectureDescriptor[];
}

/**
 * Opens a checkpoint: config.json and safetensors headers are read and checked against each other; tensors are read
 * later, one byte range each, and the tokenizer when it is first asked for. Where a flag of config.json and the tensors disagree the
 * tensors count, with a warning, and `config` says what they say.
 * Throws KvlrError 'file-missing', 'file-truncated', 'file-malformed', 'unknown-architecture', 'unsupported-feature',
 * 'heads-not-divisible', 'tensor-missing', 'tensor-shape'.
 */
export async function openCheckpoint(
  files: CheckpointFiles,
  settings: OpenCheckpointSettings = {},
): Promise<HuggingFaceCheckpoint> {
  const { config: given, architecture } = await requireReadableConfig(files, settings.architectures);
  const stored = unwrapNames(await openSafetensors(files, settings.onEvent), architecture, settings.onEvent);
  const config = await believeTensors(given, architecture, stored, settings.onEvent);
  const shape = modelShapeFromConfig(config, architecture);
  const layout = tensorLayout(architecture, shape.head.tied, (name) => stored.has(name));
  const tensors = layout.stored(shape);
  checkTensors(tensors, stored, files.location);
  let tokenizer: Promise<Tokenizer> | undefined;
  return {
    id: await modelId(given, stored),
    location: files.location,
    files,
    architecture,
    layout,
    config,
    shape,
    tensors: new CheckpointTensors(stored, tensors),
    tensorName: layout.tensorName,
    tokenizer: () => {
      tokenizer ??= loadTokenizer(files, shape.vocabSize);
      return tokenizer;
    },
    close: () => stored.close(),
  };
}

/** config.json of a model whose family is known and reads as it says, and the family. Throws what `openCheckpoint` throws of these. */
export async function requireReadableConfig(files: CheckpointFiles, architectures?: readonly ArchitectureDescriptor[]) {
  await refuseAdapter(files);
  const config = await readJsonObject(files, 'config.json');
  const architecture = findArchitecture(decodeNativeConfig(config).config.model_type, architectures);
  modelShapeFromConfig(config, architecture);
  return { config, architecture };
}

/** Throws 'file-missing' for what was trained beside a model, and is none. */
async function refuseAdapter(files: CheckpointFiles): Promise<void> {
  const names = await files.list();
  if (names.includes('config.json') || !names.includes('adapter_config.json')) return;
  throw new KvlrError('file-missing', {
    message: `expected a whole model in ${files.location}, found an adapter of one (adapter_config.json)`,
    hint: `Merge it into its base model first, with peft: python -c "from peft import AutoPeftModelForCausalLM as M; M.from_pretrained('DIR').merge_and_unload().save_pretrained('NEW')", DIR being the adapter, and put the tokenizer's files beside it.`,
    where: { file: 'config.json' },
    data: { location: files.location, file: 'config.json' },
  });
}

const sampleBytes = 64 * 1024;
const readsAtOnce = 8;

/**
 * Identity of a model: the SHA-256 of its config (keys sorted) and, for each tensor in order of name, of name, type,
 * shape and its first and last 64 KiB. Cheap for large files, equal for copies and for other shardings of the same
 * tensors. A change that touches only the middle of large tensors is not seen.
 */
export async function modelId(
  config: Record<string, unknown>,
  tensors: {
    list(): { name: string; dtype: string; shape: readonly number[]; byteLength: number }[];
    readByteRange(name: string, from: number, to: number): Promise<Uint8Array>;
  },
): Promise<string> {
  const inOrder = tensors.list().sort((a, b) => (a.name < b.name ? -1 : 1));
  const lines: string[] = [canonicalJson(config)];
  for (let first = 0; first < inOrder.length; first += readsAtOnce) {
    const digests = inOrder.slice(first, first + readsAtOnce).map(async ({ name, dtype, shape, byteLength }) => {
      const sample =
        byteLength <= 2 * sampleBytes
          ? [await tensors.readByteRange(name, 0, byteLength)]
          : await Promise.all([
              tensors.readByteRange(name, 0, sampleBytes),
              tensors.readByteRange(name, byteLength - sampleBytes, byteLength),
            ]);
      const hashes = await Promise.all(sample.map(sha256));
      return `${name} ${dtype} [${shape}] ${hashes.join(' ')}`;
    });
    lines.push(...(await Promise.all(digests)));
  }
  return sha256(lines.join('\n'));
}
