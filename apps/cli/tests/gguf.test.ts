import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpointDirectory, openSource } from '@kvlr/checkpoint/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli, runJson, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const gguf = tiny.path('tiny.gguf');
const compute = ['--backend', 'cpu', '--workers', '1'];

beforeAll(() => runJson(['export', tiny.model, '--gguf', gguf]));

const generate = (model: string, ...options: string[]) =>
  runJson(['generate', model, '--prompt', 'The sea', '-n', '8', '--backend', 'cpu', ...options]);

describe('a GGUF file in the place of a checkpoint', () => {
  it('is inspected, evaluated and continued like the directory that it was made from', async () => {
    const [ours, theirs] = [await runJson(['inspect', gguf]), await runJson(['inspect', tiny.model])];
    expect(ours.shape).toEqual(theirs.shape);
    expect(ours.cache).toEqual(theirs.cache);
    expect((await generate(gguf)).tokenIds).toEqual((await generate(tiny.model)).tokenIds);
    const perplexity = async (model: string) => (await runJson(tiny.evaluate(model))).results;
    expect(await perplexity(gguf)).toEqual(await perplexity(tiny.model));
  });

  it('is compressed into an ordinary checkpoint, and that goes back to GGUF', async () => {
    const inputs = ['--recipe', tiny.recipe, ...tiny.texts, ...compute];
    const small = tiny.path('small');
    const { exitCode, error } = await runCli(['compress', gguf, '-o', small, ...inputs]);
    expect(exitCode, error).toBe(0);
    const checkpoint = await openCheckpointDirectory(small);
    expect(checkpoint.config).toMatchObject({ model_type: 'llama', num_key_value_heads: 2, torch_dtype: 'float32' });
    expect((await checkpoint.tokenizer()).prefixIds).toEqual([0]);
    await checkpoint.close();
    const again = tiny.path('small.gguf');
    await runJson(['export', small, '--gguf', again]);
    expect((await generate(again)).tokenIds).toEqual((await generate(small)).tokenIds);
  });

  it('says how its weights are quantised, and is exported anew', async () => {
    const quantised = tiny.path('q8.gguf');
    await runJson(['export', gguf, '--gguf', quantised, '--dtype', 'Q8_0']);
    expect(await runJson(['inspect', quantised])).toMatchObject({ dtype: 'F16' });
    expect((await runCli(['export', gguf, '--onnx', tiny.path('onnx'), '--dtype', 'Q8_0'])).exitCode).toBe(2);
  });

  it('is refused where it is no GGUF file', async () => {
    const path = tiny.path('other.gguf');
    await writeFile(path, 'nothing of the kind');
    const { exitCode, error } = await runCli(['inspect', path]);
    expect(exitCode).toBe(1);
    expect(error).toContain('a file that begins with GGUF');
  });
});

describe('a begin-of-sequence id that the tokenizer does not add', () => {
  it.each([
    ['add_bos_token is false', { bos_token: '<s>', eos_token: '</s>', add_bos_token: false }],
    ['bos_token is null and the ids stand in the config', { bos_token: null, eos_token: '</s>', add_bos_token: false }],
    ['nothing says that it is added', { bos_token: '<s>', eos_token: '</s>', tokenizer_class: 'GPT2Tokenizer' }],
  ])('stands before no prompt, no document, and no text of llama.cpp: %s', async (_, tokenizerConfig) => {
    const bare = await TinyRun.create();
    const edit = async (name: string, changes: object) => {
      const path = join(bare.model, name);
      const content = JSON.parse(await readFile(path, 'utf8').catch(() => '{}'));
      await writeFile(path, JSON.stringify({ ...content, ...changes }));
    };
    for (const name of ['config.json', 'generation_config.json'])
      await edit(name, { bos_token_id: 0, eos_token_id: 1 });
    await writeFile(join(bare.model, 'tokenizer_config.json'), JSON.stringify(tokenizerConfig));
    const path = bare.path('bare.gguf');
    await runJson(['export', bare.model, '--gguf', path]);
    const added = [await generate(tiny.model), (await runJson(tiny.evaluate(tiny.model))).results];
    for (const model of [bare.model, path]) {
      const checkpoint = await openSource(model);
      expect((await checkpoint.tokenizer()).prefixIds).toEqual([]);
      await checkpoint.close();
      expect((await generate(model)).tokenIds).not.toEqual(added[0].tokenIds);
      expect((await runJson(tiny.evaluate(model))).results).not.toEqual(added[1]);
    }
    await bare.remove();
  });
});
