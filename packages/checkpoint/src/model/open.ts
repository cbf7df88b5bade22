import { type Checkpoint, canonicalJson, KvlrError, sha256, type Tokenizer } from '@kvlr/core';
import type { ArchitectureDescriptor } from '../architectures/architecture.ts';
import { findArchitecture } from '../architectures/families.ts';
import { decodeNativeConfig } from '../config/native.ts';
import { modelShapeFromConfig } from '../config/read-config.ts';
import { type BrowserFile, type CheckpointFiles, createBrowserFiles, readJsonObject } from '../files/files.ts';
import { createHubFiles, type HubAccess, parseHubId } from '../files/hub.ts';
import { createUrlFiles } from '../files/url.ts';
import { openSafetensors, type SafetensorsSource } from '../safetensors/read.ts';
import { loadTokenizer } from '../tokenizer.ts';
import { CheckpointTensors, checkTensors } from './checkpoint-tensors.ts';
import { type TensorLayout, tensorLayout } from './stored-tensors.ts';

/** A checkpoint in Hugging Face form, with its files and the family it belongs to. */
export interface HuggingFaceCheckpoint extends Checkpoint {
  readonly files: CheckpointFiles;
  readonly architecture: ArchitectureDescriptor;
  /** Where its tensors lie in the files. */
  readonly layout: TensorLayout;
}

export interface OpenCheckpointSettings {
  /** Model families besides the built-in ones. */
  architectures?: readonly ArchitectureDescriptor[];
}

/**
 * Opens a checkpoint: config.json and safetensors headers are read and checked against each other; tensors are read
 * later, one byte range each, and the tokenizer when it is first asked for.
 * Throws KvlrError 'file-missing', 'file-truncated', 'file-malformed', 'unknown-architecture', 'unsupported-feature',
 * 'heads-not-divisible', 'tensor-missing', 'tensor-shape'.
 */
export async function openCheckpoint(
  files: CheckpointFiles,
  settings: OpenCheckpointSettings = {},
): Promise<HuggingFaceCheckpoint> {
  const config = await readJsonObject(files, 'config.json');
  const architecture = findArchitecture(decodeNativeConfig(config).config.model_type, settings.architectures);
  const shape = modelShapeFromConfig(config, architecture);
  const stored = await openSafetensors(files);
  const layout = tensorLayout(architecture, shape.head.tied, (name) => stored.has(name));
  const tensors = layout.stored(shape);
  checkTensors(tensors, stored, files.location);
  let tokenizer: Promise<Tokenizer> | undefined;
  return {
    id: await modelId(config, stored),
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

const sampleBytes = 64 * 1024;
const readsAtOnce = 8;

/**
 * Identity of a model: the SHA-256 of its config (keys sorted) and, for each tensor in order of name, of name, type,
 * shape and its first and last 64 KiB. Cheap for large files, equal for copies and for other shardings of the same
 * tensors. A change that touches only the middle of large tensors is not seen.
 */
async function modelId(config: Record<string, unknown>, tensors: SafetensorsSource): Promise<string> {
  const inOrder = tensors.list().sort((a, b) => (a.name < b.name ? -1 : 1));
  const lines: string[] = [canonicalJson(config)];
  for (let first = 0; first < inOrder.length; first += readsAtOnce) {
    const digests = inOrder.slice(first, first + readsAtOnce).map(async ({ name, dtype, shape, byteLength }) => {
      const sample =
        byteLength <= 2 * sampleBytes
          ? [await tensors.readBytes(name)]
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

/**
 * Where a checkpoint is: the URL below which its files lie, the id of a model on the hub (owner/name, or
 * owner/name@revision), files that a user chose, or any other `CheckpointFiles`. In Node also the path of a directory.
 */
export type CheckpointLocation = string | URL | Iterable<BrowserFile> | CheckpointFiles;

export interface OpenSourceSettings extends OpenCheckpointSettings, HubAccess {}

/**
 * Opens a checkpoint wherever it lies: below a URL ('https://...', or './models/mine' beside the page), on the hub
 * ('owner/name'), or in files that a user chose. Weights are read by byte range when they are asked for.
 * Throws what `openCheckpoint` throws, and 'access-denied', 'network'.
 */
export function openSource(
  location: CheckpointLocation,
  settings: OpenSourceSettings = {},
): Promise<HuggingFaceCheckpoint> {
  return openCheckpoint(filesAt(location, settings), settings);
}

function filesAt(location: CheckpointLocation, settings: OpenSourceSettings): CheckpointFiles {
  if (location instanceof URL) return createUrlFiles(location.href, { fetch: settings.fetch });
  if (typeof location !== 'string') return 'read' in location ? location : createBrowserFiles(location);
  if (isAddress(location) || /^\.{0,2}\//.test(location)) return createUrlFiles(location, { fetch: settings.fetch });
  if (parseHubId(location) !== undefined) return createHubFiles(location, settings);
  throw unknownLocation(location, 'a URL, or the id of a model on the hub (owner/name)');
}

/** True for http: and https: addresses. */
export function isAddress(text: string): boolean {
  return /^https?:\/\//.test(text);
}

export function unknownLocation(received: string, forms: string): KvlrError {
  return new KvlrError('file-missing', {
    message: `expected ${forms}, got ${JSON.stringify(received)}`,
    hint: 'Check the spelling. A checkpoint has config.json, tokenizer.json and *.safetensors side by side.',
    data: { location: received },
  });
}
