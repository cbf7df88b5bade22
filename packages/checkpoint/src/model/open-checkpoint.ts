import type { Checkpoint, TensorRole, Tokenizer } from '@kvlr/core';
import type { ArchitectureDescriptor } from '../architectures/architecture-descriptor.ts';
import { findArchitecture } from '../architectures/find-architecture.ts';
import { tensorName } from '../architectures/tensor-name.ts';
import { modelShapeFromConfig } from '../config/model-shape-from-config.ts';
import { decodeNativeConfig } from '../config/native-config.ts';
import type { CheckpointFiles } from '../files/checkpoint-files.ts';
import { readJsonObject } from '../files/read-json-object.ts';
import { openSafetensors } from '../safetensors/open-safetensors.ts';
import { loadTokenizer } from '../tokenizer/load-tokenizer.ts';
import { checkTensors } from './check-tensors.ts';
import { modelId } from './model-id.ts';

/** A checkpoint in Hugging Face form, with its files and the family it belongs to. */
export interface HuggingFaceCheckpoint extends Checkpoint {
  readonly files: CheckpointFiles;
  readonly architecture: ArchitectureDescriptor;
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
  const tensors = await openSafetensors(files);
  const nameOf = (role: TensorRole, layer?: number): string =>
    tensorName(architecture, shape.tieWordEmbeddings, role, layer);
  checkTensors({ shape, tensors, tensorName: nameOf }, files.location);
  let tokenizer: Promise<Tokenizer> | undefined;
  return {
    id: await modelId(config, tensors),
    location: files.location,
    files,
    architecture,
    config,
    shape,
    tensors,
    tensorName: nameOf,
    tokenizer: () => {
      tokenizer ??= loadTokenizer(files, shape.vocabSize);
      return tokenizer;
    },
    close: () => tensors.close(),
  };
}
