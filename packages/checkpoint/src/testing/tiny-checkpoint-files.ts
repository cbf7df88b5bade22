import type { ModelSource } from '@kvlr/core';
import { asciiTokenizerFiles, createTinyModel, type TinyModelSettings } from '@kvlr/testkit';
import { findArchitecture } from '../architectures/families.ts';
import { configFromModelShape } from '../config/write-config.ts';
import type { WeightDtype } from '../dtypes.ts';
import { planTensors } from '../model/written-tensors.ts';
import { encodeSafetensors } from '../safetensors/write.ts';

/** The files of a tiny checkpoint, by name; a test may change them before they are opened. */
export type FileContents = Record<string, Uint8Array | string>;

/** A tiny random model as the files of a Hugging Face checkpoint, with a tokenizer of printable ASCII. */
export async function tinyCheckpointFiles(
  settings: TinyModelSettings & { dtype?: WeightDtype } = {},
): Promise<FileContents> {
  const model = createTinyModel({ vocabSize: 100, ...settings });
  const config = configFromModelShape(model.shape, findArchitecture('llama'), 'float32');
  return {
    'config.json': JSON.stringify(config),
    'generation_config.json': JSON.stringify({ eos_token_id: [1, 97] }),
    'model.safetensors': await encodeModel(model, settings.dtype ?? 'F32'),
    ...asciiTokenizerFiles(),
    // Some checkpoints write a special token as an object.
    'tokenizer_config.json': JSON.stringify({ bos_token: '<s>', eos_token: { content: '</s>' }, add_bos_token: true }),
    'README.md': '# a tiny model',
  };
}

/** Reads a JSON file of the set, lets the test change it, and puts it back. */
export function editJson(files: FileContents, name: string, edit: (content: Record<string, unknown>) => void): void {
  const content = JSON.parse(files[name] as string) as Record<string, unknown>;
  edit(content);
  files[name] = JSON.stringify(content);
}

async function encodeModel(model: ModelSource, dtype: WeightDtype): Promise<Uint8Array> {
  const tensors = planTensors(model, { dtype }).map(async (tensor) => ({ ...tensor, bytes: await tensor.read() }));
  return encodeSafetensors(await Promise.all(tensors), { format: 'pt' });
}
