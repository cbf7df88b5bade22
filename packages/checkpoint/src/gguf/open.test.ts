import { asciiTokenizerFiles, expectClose, readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpoint } from '../model/open.ts';
import { createDirectoryFiles } from '../node/open.ts';
import { openFiles } from '../open-source.ts';
import type { GgufSettings } from './export.ts';
import { encodeGguf } from './export.ts';

/** A golden checkpoint with a tokenizer, which those that transformers wrote lack. */
async function openGolden(name: string) {
  const files = createDirectoryFiles(readGolden(name).directory);
  const names = (await files.list()).filter((file) => !file.startsWith('golden'));
  const contents = await Promise.all(names.map(async (file) => [file, await files.read(file)] as const));
  return openCheckpoint(createMemoryFiles({ ...Object.fromEntries(contents), ...asciiTokenizerFiles() }));
}

async function throughGguf(source: Awaited<ReturnType<typeof openGolden>>, settings?: GgufSettings) {
  const pieces: Uint8Array[] = [];
  await encodeGguf(source, source, { write: async (bytes) => void pieces.push(bytes.slice()) }, settings);
  return openFiles(createMemoryFiles({ 'model.gguf': Buffer.concat(pieces) }));
}

describe('openGguf', () => {
  it.each([
    'llama_mha',
    'llama_gqa_bias',
    'llama_llama3',
    'llama_linear',
    'llama_yarn',
    'llama_headdim',
    'qwen2_bias',
    'qwen3',
    'smollm3',
    'phi3_fused',
    'phi3_longrope',
    'phi3_partial',
    'phi',
    'olmo',
    'olmo2',
    'stablelm_parallel',
    'gemma',
    'gemma2',
    'gemma3_text',
    'gpt_neox_parallel',
    'gpt_neox_seq',
    'gpt2',
    'bloom',
    'granite',
    'cohere',
  ])('reads the model back that was written: %s', async (name) => {
    const source = await openGolden(name);
    const read = await throughGguf(source);
    expect(read.architecture.name).toBe(source.architecture.name);
    expect(read.shape.layers.length).toBe(source.shape.layers.length);
    for (const info of read.tensors.list()) {
      expectClose(await read.tensors.readFloat32(info.name), await source.tensors.readFloat32(info.name), 1e-6);
    }
    expect(read.tensors.list().length).toBe(source.tensors.list().length);
  });
});
