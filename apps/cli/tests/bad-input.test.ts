import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SpoilableRun } from './support/spoilable-run.ts';
import { runCli } from './support/tiny-run.ts';

let run: SpoilableRun;
beforeEach(async () => {
  run = await SpoilableRun.create();
});
afterEach(() => run.remove());

/** Changes the header of the weights, which says where each tensor lies. */
async function editHeader(edit: (header: Record<string, { data_offsets: [number, number] }>) => void): Promise<void> {
  const path = join(run.model, 'model.safetensors');
  const bytes = await readFile(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  edit(header);
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  await writeFile(path, Buffer.concat([size, text, bytes.subarray(8 + length)]));
}

describe('a bad checkpoint', () => {
  it.each([
    ['config.json', 'config.json'],
    ['model.safetensors', 'safetensors'],
    ['tokenizer.json', 'tokenizer.json'],
  ])('without %s', async (name, named) => {
    await rm(join(run.model, name));
    await run.expectFailure('file-missing', named);
  });

  it('that does not exist', async () => {
    run.model = join(run.directory, 'nowhere');
    await run.expectFailure('file-missing', run.model);
  });

  it('with weights that were cut short', async () => {
    const path = join(run.model, 'model.safetensors');
    await truncate(path, (await readFile(path)).length - 100);
    await run.expectFailure('file-truncated', 'model.safetensors');
  });

  it('with a header that claims to be longer than its file', async () => {
    const path = join(run.model, 'model.safetensors');
    const bytes = await readFile(path);
    bytes.writeBigUInt64LE(2n ** 40n, 0);
    await writeFile(path, bytes);
    await run.expectFailure('file-malformed', 'model.safetensors');
  });

  it('with a header that puts a tensor where it has no room', async () => {
    await editHeader((header) => {
      header['model.norm.weight']!.data_offsets[1] += 4;
    });
    await run.expectFailure('file-malformed', 'model.safetensors');
  });

  it('with a config that is no JSON', async () => {
    await writeFile(join(run.model, 'config.json'), '{"model_type":');
    await run.expectFailure('file-malformed', 'config.json');
  });

  it.each(['model.layers.0.self_attn.k_proj.weight', 'model.layers.1.mlp.up_proj.weight'])(
    'with NaN in %s',
    async (tensor) => {
      const path = join(run.model, 'model.safetensors');
      const bytes = await readFile(path);
      const length = Number(bytes.readBigUInt64LE(0));
      const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
      bytes.writeFloatLE(Number.NaN, 8 + length + header[tensor].data_offsets[0] + 8);
      await writeFile(path, bytes);
      await run.expectFailure('non-finite', tensor);
    },
  );

  it('of an unknown architecture', async () => {
    await run.editJson('config.json', (config) => {
      config.model_type = 'mamba';
    });
    await run.expectFailure('unknown-architecture', 'mamba');
  });

  it('whose tokenizer has more tokens than the model', async () => {
    await run.editJson('tokenizer.json', (tokenizer) => {
      (tokenizer.model as { vocab: Record<string, number> }).vocab.whale = 100;
    });
    await run.expectFailure('tokenizer-mismatch', 'whale');
  });
});

describe('a base with another tokenizer', () => {
  it('is not compared with', async () => {
    const base = join(run.directory, 'base');
    await cp(run.model, base, { recursive: true });
    await run.editJson('tokenizer.json', (tokenizer) => {
      (tokenizer.model as { merges: string[] }).merges = [];
    });
    const outcome = await runCli(run.evaluate(run.model, '--against', base, '--json'));
    expect(JSON.parse(outcome.out).error).toMatchObject({
      code: 'tokenizer-mismatch',
      data: { file: run.model, base },
    });
    expect(outcome.exitCode).toBe(1);
  });
});

describe('bad wishes', () => {
  it.each([
    ['--kv-heads', '3'],
    ['--keep', '10%'],
  ])('a head count that does not divide: %s %s', async (option, value) => {
    await run.expectFailure('heads-not-divisible', '4 KV heads', [option, value], 2);
    expect(await readdir(run.directory)).not.toContain('results');
  });

  it('an empty calibration text', async () => {
    await writeFile(run.calibration, ' \n');
    await run.expectFailure('text-empty', run.calibration);
  });

  it('a calibration text that is too short', async () => {
    await writeFile(run.calibration, 'Too short.');
    await run.expectFailure('text-too-short', run.calibration);
  });

  it('an evaluation text that is too short', async () => {
    await writeFile(run.evaluation, 'Too short.');
    await run.expectFailure('text-too-short', run.evaluation);
  });

  it('a dry run refuses it as well', async () => {
    await writeFile(run.calibration, 'Too short.');
    expect(JSON.parse((await run.run('--dry-run')).out).error.code).toBe('text-too-short');
    await mkdir(run.output, { recursive: true });
    expect(JSON.parse((await run.run('--dry-run')).out).error.code).toBe('file-exists');
  });

  it('a text file that does not exist', async () => {
    await run.expectFailure('file-missing', 'nowhere.txt', ['--calibration', join(run.directory, 'nowhere.txt')]);
  });

  it('a recipe with an entry that does not exist', async () => {
    await writeFile(run.recipe, 'windows: 3\n');
    await run.expectFailure('recipe-invalid', run.recipe);
  });

  it.each([
    ['grouping-invalid', 'export default () => [[0, 0], [1, 2]];'],
    ['grouping-invalid', 'export default () => "half";'],
    ['grouping-invalid', 'export default () => { throw new Error("no idea"); };'],
    ['plugin-invalid', 'export const groups = [[0, 1], [2, 3]];'],
    ['plugin-invalid', 'export default ('],
  ])('%s: a grouping strategy that is %s', async (code, source) => {
    const path = join(run.directory, 'nonsense.mjs');
    await writeFile(path, source);
    await run.expectFailure(code, 'nonsense.mjs', ['--grouping', path]);
  });

  it('a grouping strategy that does not exist', async () => {
    await run.expectFailure('file-missing', 'nowhere.mjs', ['--grouping', join(run.directory, 'nowhere.mjs')]);
  });
});

describe('bad usage', () => {
  it('an unknown grouping ends with exit code 2, before anything is written', async () => {
    const outcome = await run.run('--grouping', 'alphabetical');
    expect(JSON.parse(outcome.out).error.code).toBe('usage');
    expect(outcome.exitCode).toBe(2);
    expect(await readdir(run.directory)).not.toContain('results');
  });

  it.each([
    ['an unknown command', ['frobnicate']],
    ['an unknown option', ['compress', '--frobnicate']],
    ['a value of the wrong kind', ['compress', '--kv-heads', 'four']],
    ['an unknown method', ['compress', '--method', 'magic']],
    ['an unknown method of several', ['compare', '--methods', 'svd-a', 'magic']],
    ['an unknown grouping of several', ['compare', '--groupings', 'contiguous', 'alphabetical']],
    ['an unknown backend', ['eval', '--backend', 'abacus']],
    ['two ways to say one thing', ['compress', '--kv-heads', '2', '--keep', '50%']],
    ['an unknown recipe', ['compress', '--recipe', 'magic']],
    ['no prompt', ['generate']],
    ['a system message without a chat', ['generate', '--prompt', 'Hello', '--system', 'Be brief']],
    ['a recovery that trains nothing', ['recover', 'embedded', '--teacher', 'embedded', '--distill', 'none']],
  ])('%s ends with exit code 2', async (_, argumentList) => {
    const outcome = await runCli([...argumentList, '--json']);
    expect(JSON.parse(outcome.out).error.code).toBe('usage');
    expect(outcome.exitCode).toBe(2);
  });
});
