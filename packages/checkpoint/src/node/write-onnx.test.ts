import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectKvlrError } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpoint } from '../model/open.ts';
import { editJson, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { writeGguf, writeOnnxDirectory } from './write.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-onnx-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function openTiny(edit: (files: Awaited<ReturnType<typeof tinyCheckpointFiles>>) => void = () => {}) {
  const files = await tinyCheckpointFiles({ headDim: 16, numKeyValueHeads: 2 });
  edit(files);
  return openCheckpoint(createMemoryFiles(files));
}

const readConfig = async (output: string) => JSON.parse(await readFile(join(output, 'config.json'), 'utf8'));

describe('writeOnnxDirectory', () => {
  it('writes the layout that transformers.js loads', async () => {
    const source = await openTiny();
    const output = join(directory, 'out');
    await writeOnnxDirectory(output, source, source, { dtype: 'F16' });
    expect((await readdir(output, { recursive: true })).sort()).toEqual([
      '.kvlr',
      'config.json',
      'generation_config.json',
      'onnx',
      'onnx/model_fp16.onnx',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(await readConfig(output)).toMatchObject({
      model_type: 'llama',
      num_key_value_heads: 2,
      'transformers.js_config': { dtype: 'fp16', kv_cache_dtype: { fp16: 'float16' } },
    });
  });

  it('puts chat templates where transformers.js finds them', async () => {
    const source = await openTiny((files) => {
      files['chat_template.jinja'] = 'A';
    });
    const output = join(directory, 'chat');
    await writeOnnxDirectory(output, source, source);
    const config = JSON.parse(await readFile(join(output, 'tokenizer_config.json'), 'utf8'));
    expect(config).toMatchObject({ bos_token: '<s>', chat_template: 'A' });
  });

  it('says in how many parts the weights lie', async () => {
    const source = await openTiny();
    const output = join(directory, 'parts');
    await writeOnnxDirectory(output, source, source, { maxFileBytes: 20_000 });
    const parts = (await readdir(join(output, 'onnx'))).filter((name) => name.includes('_data')).length;
    expect(parts).toBeGreaterThan(1);
    const { use_external_data_format } = (await readConfig(output))['transformers.js_config'];
    expect(use_external_data_format).toEqual({ 'model.onnx': parts });
  });

  it('leaves nothing behind when it fails or is stopped', async () => {
    const source = await openTiny();
    const before = await readdir(directory);
    const controller = new AbortController();
    const stopped = writeOnnxDirectory(join(directory, 'stopped'), source, source, {
      signal: controller.signal,
      onEvent: () => controller.abort(),
    });
    await expectKvlrError(() => stopped, 'aborted');
    const withoutTokenizer = await openTiny((files) => delete files['tokenizer.json']);
    const refused = writeOnnxDirectory(join(directory, 'refused'), withoutTokenizer, withoutTokenizer);
    await expectKvlrError(() => refused, 'file-missing', 'tokenizer.json');
    expect(await readdir(directory)).toEqual(before);
  });

  it('refuses tokens that the model has no embedding for, in GGUF files too', async () => {
    const source = await openTiny((files) =>
      editJson(files, 'tokenizer.json', (tokenizer) => {
        const added = tokenizer.added_tokens as object[];
        added.push({ id: 500, content: '<x>', special: true });
      }),
    );
    const path = join(directory, 'foreign');
    await expectKvlrError(() => writeOnnxDirectory(path, source, source), 'tokenizer-mismatch', '500 for "<x>"');
    await expectKvlrError(() => writeGguf(path, source, source), 'tokenizer-mismatch', '500 for "<x>"');
  });

  it('replaces an earlier export only when told to', async () => {
    const source = await openTiny((files) => editJson(files, 'config.json', (config) => (config.note = 'second')));
    const output = join(directory, 'out');
    await expectKvlrError(() => writeOnnxDirectory(output, source, source), 'file-exists');
    await writeOnnxDirectory(output, source, source, { overwrite: true });
    expect(await readdir(join(output, 'onnx'))).toEqual(['model.onnx']);
    expect((await readConfig(output)).note).toBe('second');
  });
});
