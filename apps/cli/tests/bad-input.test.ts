import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runCli } from './support/run-cli.ts';
import { writeTinyCheckpoint, writeTinyInputs } from './support/tiny-files.ts';

/** Stands in for a disk that is full: the paths below which nothing can be written any more. */
const fullDisk = vi.hoisted(() => ({ below: undefined as string | undefined }));

vi.mock('node:fs/promises', async (importOriginal) => {
  const original = await importOriginal<typeof import('node:fs/promises')>();
  const noSpace = (path: unknown): void => {
    if (fullDisk.below === undefined || !String(path).startsWith(fullDisk.below)) return;
    throw Object.assign(new Error(`ENOSPC: no space left on device, write '${path}'`), {
      code: 'ENOSPC',
      syscall: 'write',
    });
  };
  return {
    ...original,
    writeFile: async (...parameters: Parameters<typeof original.writeFile>) => {
      noSpace(parameters[0]);
      return original.writeFile(...parameters);
    },
    open: async (...parameters: Parameters<typeof original.open>) => {
      const handle = await original.open(...parameters);
      const write = handle.write.bind(handle);
      handle.write = (async (...data: Parameters<typeof write>) => {
        noSpace(parameters[0]);
        return write(...data);
      }) as typeof handle.write;
      return handle;
    },
  };
});

let directory: string;
let model: string;
let output: string;
let inputs: Awaited<ReturnType<typeof writeTinyInputs>>;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-bad-'));
  model = join(directory, 'model');
  output = join(directory, 'results', 'out');
  await writeTinyCheckpoint(model);
  inputs = await writeTinyInputs(join(directory, 'inputs'));
});

afterEach(async () => {
  fullDisk.below = undefined;
  await rm(directory, { recursive: true });
});

function compress(...more: string[]) {
  const texts = ['--calibration', inputs.calibration, '--eval-text', inputs.evaluation];
  return runCli([
    'compress',
    model,
    '-o',
    output,
    '--recipe',
    inputs.recipe,
    '--backend',
    'cpu',
    '--json',
    ...texts,
    ...more,
  ]);
}

/** Runs `compress`, which has to fail with this code, name the file, say how to mend it, and leave no output. */
async function expectFailure(code: string, named: string, ...more: string[]): Promise<void> {
  expect((await failure(code, named, ...more)).exitCode).toBe(1);
}

/** The same for any exit code. */
async function failure(code: string, named: string, ...more: string[]) {
  const outcome = await compress(...more);
  const { error } = JSON.parse(outcome.out);
  expect(error.code).toBe(code);
  expect(error.message).toContain(named);
  expect(error.remedy).toMatch(/\w+ \w+/);
  expect(outcome.error).toContain(error.remedy);
  const left = await readdir(join(directory, 'results')).catch(() => []);
  expect(left.filter((name) => name !== 'out.run')).toEqual([]);
  return outcome;
}

async function editJson(name: string, edit: (content: Record<string, unknown>) => void): Promise<void> {
  const path = join(model, name);
  const content = JSON.parse(await readFile(path, 'utf8'));
  edit(content);
  await writeFile(path, JSON.stringify(content));
}

/** Changes the header of the weights, which says where each tensor lies. */
async function editHeader(edit: (header: Record<string, { data_offsets: [number, number] }>) => void): Promise<void> {
  const path = join(model, 'model.safetensors');
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
  it.each(['config.json', 'model.safetensors', 'tokenizer.json'])('without %s', async (name) => {
    await rm(join(model, name));
    await expectFailure('file-missing', name === 'model.safetensors' ? 'safetensors' : name);
  });

  it('that does not exist', async () => {
    model = join(directory, 'nowhere');
    await expectFailure('file-missing', model);
  });

  it('with weights that were cut short', async () => {
    const path = join(model, 'model.safetensors');
    await truncate(path, (await readFile(path)).length - 100);
    await expectFailure('file-truncated', 'model.safetensors');
  });

  it('with a header that claims to be longer than its file', async () => {
    const path = join(model, 'model.safetensors');
    const bytes = await readFile(path);
    bytes.writeBigUInt64LE(2n ** 40n, 0);
    await writeFile(path, bytes);
    await expectFailure('file-malformed', 'model.safetensors');
  });

  it('with a header that puts a tensor where it has no room', async () => {
    await editHeader((header) => {
      header['model.norm.weight']!.data_offsets[1] += 4;
    });
    await expectFailure('file-malformed', 'model.safetensors');
  });

  it('with a config that is no JSON', async () => {
    await writeFile(join(model, 'config.json'), '{"model_type":');
    await expectFailure('file-malformed', 'config.json');
  });

  it.each(['model.layers.0.self_attn.k_proj.weight', 'model.layers.1.mlp.up_proj.weight'])(
    'with NaN in %s',
    async (tensor) => {
      const path = join(model, 'model.safetensors');
      const bytes = await readFile(path);
      const length = Number(bytes.readBigUInt64LE(0));
      const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
      bytes.writeFloatLE(Number.NaN, 8 + length + header[tensor].data_offsets[0] + 8);
      await writeFile(path, bytes);
      await expectFailure('non-finite', tensor);
    },
  );

  it('of an unknown architecture', async () => {
    await editJson('config.json', (config) => {
      config.model_type = 'mamba';
    });
    await expectFailure('unknown-architecture', 'mamba');
  });

  it('whose tokenizer has more tokens than the model', async () => {
    await editJson('tokenizer.json', (tokenizer) => {
      (tokenizer.model as { vocab: Record<string, number> }).vocab.whale = 100;
    });
    await expectFailure('tokenizer-mismatch', 'whale');
  });
});

describe('a base with another tokenizer', () => {
  it('is not compared with', async () => {
    const base = join(directory, 'base');
    await cp(model, base, { recursive: true });
    await editJson('tokenizer.json', (tokenizer) => {
      (tokenizer.model as { merges: string[] }).merges = [];
    });
    const texts = ['--eval-text', inputs.evaluation, '--windows', '1', '--window-length', '33'];
    const outcome = await runCli(['eval', model, '--against', base, '--backend', 'cpu', '--json', ...texts]);
    expect(JSON.parse(outcome.out).error).toMatchObject({ code: 'tokenizer-mismatch', data: { file: model, base } });
    expect(outcome.exitCode).toBe(1);
  });
});

describe('bad wishes', () => {
  it.each([
    ['--kv-heads', '3'],
    ['--keep', '30%'],
  ])('a head count that does not divide: %s %s', async (option, value) => {
    expect((await failure('heads-not-divisible', '4 KV heads', option, value)).exitCode).toBe(2);
    expect(await readdir(directory)).not.toContain('results');
  });

  it('an empty calibration text', async () => {
    await writeFile(inputs.calibration, ' \n');
    await expectFailure('text-empty', inputs.calibration);
  });

  it('a calibration text that is too short', async () => {
    await writeFile(inputs.calibration, 'Too short.');
    await expectFailure('text-too-short', inputs.calibration);
  });

  it('an evaluation text that is too short', async () => {
    await writeFile(inputs.evaluation, 'Too short.');
    await expectFailure('text-too-short', inputs.evaluation);
  });

  it('a dry run refuses it as well', async () => {
    await writeFile(inputs.calibration, 'Too short.');
    expect(JSON.parse((await compress('--dry-run')).out).error.code).toBe('text-too-short');
    await mkdir(output, { recursive: true });
    expect(JSON.parse((await compress('--dry-run')).out).error.code).toBe('file-exists');
  });

  it('a text file that does not exist', async () => {
    await expectFailure('file-missing', 'nowhere.txt', '--calibration', join(directory, 'nowhere.txt'));
  });

  it('a recipe with an entry that does not exist', async () => {
    await writeFile(inputs.recipe, 'windows: 3\n');
    await expectFailure('recipe-invalid', inputs.recipe);
  });

  it.each([
    ['grouping-invalid', 'export default () => [[0, 0], [1, 2]];'],
    ['grouping-invalid', 'export default () => "half";'],
    ['grouping-invalid', 'export default () => { throw new Error("no idea"); };'],
    ['plugin-invalid', 'export const groups = [[0, 1], [2, 3]];'],
    ['plugin-invalid', 'export default ('],
  ])('%s: a grouping strategy that is %s', async (code, source) => {
    const path = join(directory, 'nonsense.mjs');
    await writeFile(path, source);
    await expectFailure(code, 'nonsense.mjs', '--grouping', path);
  });

  it('a grouping strategy that does not exist', async () => {
    await expectFailure('file-missing', 'nowhere.mjs', '--grouping', join(directory, 'nowhere.mjs'));
  });
});

describe('a bad place for the output', () => {
  it('one that is taken: it is left as it was, also with --overwrite when kvlr did not make it', async () => {
    await mkdir(output, { recursive: true });
    await writeFile(join(output, 'thesis.tex'), 'years of work');
    for (const more of [[], ['--overwrite']]) {
      const outcome = await compress(...more);
      expect(JSON.parse(outcome.out).error).toMatchObject({ code: 'file-exists', data: { file: output } });
      expect(outcome.exitCode).toBe(1);
    }
    expect(await readdir(output)).toEqual(['thesis.tex']);
    expect(await readdir(join(directory, 'results'))).toEqual(['out']);
  });

  it('an earlier result: it stays until its successor is complete', async () => {
    expect((await compress()).exitCode).toBe(0);
    const weights = await readFile(join(output, 'model.safetensors'));
    expect(JSON.parse((await compress('--kv-heads', '1')).out).error.code).toBe('file-exists');
    fullDisk.below = join(directory, 'results', '.out.partial');
    expect(JSON.parse((await compress('--kv-heads', '1', '--overwrite')).out).error.code).toBe('disk-full');
    expect(await readFile(join(output, 'model.safetensors'))).toEqual(weights);
    fullDisk.below = undefined;
    expect((await compress('--kv-heads', '1', '--overwrite')).exitCode).toBe(0);
    expect(await readFile(join(output, 'model.safetensors'))).not.toEqual(weights);
    expect((await readdir(join(directory, 'results'))).sort()).toEqual(['out', 'out.run']);
  });

  it('a disk that is full when the run directory is written', async () => {
    fullDisk.below = join(directory, 'results', 'out.run', '3-factors');
    await expectFailure('disk-full', '3-factors.safetensors');
    expect(await readdir(join(directory, 'results', 'out.run'))).not.toContain('3-factors.safetensors.partial');
  });

  it('a disk that is full when the checkpoint is written; the same command then goes on', async () => {
    fullDisk.below = join(directory, 'results', '.out.partial');
    await expectFailure('disk-full', 'model.safetensors');
    fullDisk.below = undefined;
    const outcome = await compress();
    expect(outcome.exitCode).toBe(0);
    const kept = JSON.parse(outcome.out).stages.filter((stage: { skipped: boolean }) => stage.skipped);
    expect(kept.map(({ stage }: { stage: string }) => stage)).toContain('recovery');
  });

  it('the run directory of another model', async () => {
    expect((await compress()).exitCode).toBe(0);
    await rm(output, { recursive: true });
    await cp(model, join(directory, 'other'), { recursive: true });
    model = join(directory, 'other');
    await editJson('config.json', (config) => {
      config.rms_norm_eps = 1e-6;
    });
    await expectFailure('run-mismatch', 'out.run');
  });
});

describe('bad usage', () => {
  it('an unknown grouping ends with exit code 2, before anything is written', async () => {
    const outcome = await compress('--grouping', 'alphabetical');
    expect(JSON.parse(outcome.out).error.code).toBe('usage');
    expect(outcome.exitCode).toBe(2);
    expect(await readdir(directory)).not.toContain('results');
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
