import type { ModelSource, TensorDtype } from '@kvlr/core';
import { createTinyModel, type TinyModelSettings } from '@kvlr/testkit';
import { findArchitecture } from '../architectures/find-architecture.ts';
import { configFromModelShape } from '../config/config-from-model-shape.ts';
import { encodeSafetensors } from '../safetensors/encode-safetensors.ts';
import { readTensorAs } from '../safetensors/read-tensor-as.ts';

/** The files of a tiny checkpoint, by name; a test may change them before they are opened. */
export type FileContents = Record<string, Uint8Array | string>;

/** A tiny random model as the files of a Hugging Face checkpoint, with a tokenizer of printable ASCII. */
export async function tinyCheckpointFiles(
  settings: TinyModelSettings & { dtype?: TensorDtype } = {},
): Promise<FileContents> {
  const model = createTinyModel({ vocabSize: 100, ...settings });
  const config = configFromModelShape(model.shape, findArchitecture('llama'), 'float32');
  return {
    'config.json': JSON.stringify(config),
    'generation_config.json': JSON.stringify({ eos_token_id: [1, 97] }),
    'model.safetensors': await encodeModel(model, settings.dtype ?? 'F32'),
    'tokenizer.json': JSON.stringify(asciiTokenizer()),
    'tokenizer_config.json': JSON.stringify({ bos_token: '<s>', eos_token: { content: '</s>' } }),
    'README.md': '# a tiny model',
  };
}

/** Reads a JSON file of the set, lets the test change it, and puts it back. */
export function editJson(files: FileContents, name: string, edit: (content: Record<string, unknown>) => void): void {
  const content = JSON.parse(files[name] as string) as Record<string, unknown>;
  edit(content);
  files[name] = JSON.stringify(content);
}

async function encodeModel(model: ModelSource, dtype: TensorDtype): Promise<Uint8Array> {
  const tensors = model.tensors.list().map(async ({ name, shape }) => ({
    name,
    dtype,
    shape,
    bytes: await readTensorAs(model.tensors, name, dtype),
  }));
  return encodeSafetensors(await Promise.all(tensors), { format: 'pt' });
}

/** <s>, </s>, then the byte-level letters for '!' to '~' and for the space: 97 tokens, no merges but one. */
function asciiTokenizer() {
  const letters = Array.from({ length: 94 }, (_, offset) => String.fromCharCode(33 + offset));
  const tokens = ['<s>', '</s>', ...letters, 'Ġ', 'th'];
  return {
    version: '1.0',
    added_tokens: ['<s>', '</s>'].map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: ['t h'] },
  };
}
