import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SpoilableRun } from './support/spoilable-run.ts';
import { runCli, runToError } from './support/tiny-run.ts';

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

let run: SpoilableRun;
beforeEach(async () => {
  run = await SpoilableRun.create();
});
afterEach(() => {
  fullDisk.below = undefined;
  return run.remove();
});

describe('a bad place for the output', () => {
  it('one that is taken: it is left as it was, also with --overwrite when kvlr did not make it', async () => {
    await mkdir(run.output, { recursive: true });
    await writeFile(join(run.output, 'thesis.tex'), 'years of work');
    for (const more of [[], ['--overwrite']]) {
      const outcome = await run.run(...more);
      expect(JSON.parse(outcome.out).error).toMatchObject({ code: 'file-exists', data: { file: run.output } });
      expect(outcome.exitCode).toBe(1);
    }
    expect(await readdir(run.output)).toEqual(['thesis.tex']);
    expect(await readdir(join(run.directory, 'results'))).toEqual(['out']);
  });

  it('an earlier result: it stays until its successor is complete', async () => {
    expect((await run.run()).exitCode).toBe(0);
    const weights = await readFile(join(run.output, 'model.safetensors'));
    expect(JSON.parse((await run.run('--kv-heads', '1')).out).error.code).toBe('file-exists');
    fullDisk.below = join(run.directory, 'results', '.out.partial');
    expect(JSON.parse((await run.run('--kv-heads', '1', '--overwrite')).out).error.code).toBe('disk-full');
    expect(await readFile(join(run.output, 'model.safetensors'))).toEqual(weights);
    fullDisk.below = undefined;
    expect((await run.run('--kv-heads', '1', '--overwrite')).exitCode).toBe(0);
    expect(await readFile(join(run.output, 'model.safetensors'))).not.toEqual(weights);
    expect((await readdir(join(run.directory, 'results'))).sort()).toEqual(['out', 'out.run']);
  });

  it('a disk that is full when the run directory is written', async () => {
    fullDisk.below = join(run.directory, 'results', 'out.run', '4-factors');
    await run.expectFailure('disk-full', 'layer-000.safetensors');
    const left = await readdir(join(run.directory, 'results', 'out.run'), { recursive: true });
    expect(left.filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  it('a disk that is full when the checkpoint is written; the same command then goes on', async () => {
    fullDisk.below = join(run.directory, 'results', '.out.partial');
    await run.expectFailure('disk-full', 'model.safetensors');
    fullDisk.below = undefined;
    const outcome = await run.run();
    expect(outcome.exitCode).toBe(0);
    const kept = JSON.parse(outcome.out).stages.filter((stage: { skipped: boolean }) => stage.skipped);
    expect(kept.map(({ stage }: { stage: string }) => stage)).toContain('recovery');
  });

  it('the run directory of another model', async () => {
    expect((await run.run()).exitCode).toBe(0);
    await rm(run.output, { recursive: true });
    await cp(run.model, join(run.directory, 'other'), { recursive: true });
    run.model = join(run.directory, 'other');
    await run.editJson('config.json', (config) => {
      config.rms_norm_eps = 1e-6;
    });
    await run.expectFailure('run-mismatch', 'out.run');
  });
});

describe('a model that changes', () => {
  it('under the run, or between its parts, is noticed, and begun with anew on demand', async () => {
    fullDisk.below = join(run.directory, 'results', '.out.partial');
    await run.expectFailure('disk-full', 'model.safetensors');
    fullDisk.below = undefined;
    // The name that the model's weights and config give it does not see the tokenizer.
    await writeFile(
      join(run.model, 'tokenizer.json'),
      `${await readFile(join(run.model, 'tokenizer.json'), 'utf8')}\n`,
    );
    const outcome = JSON.parse((await run.run()).out);
    expect(outcome.error).toMatchObject({ code: 'run-mismatch', data: { file: 'tokenizer.json' } });
    const anew = await run.run('--overwrite');
    expect(anew.exitCode).toBe(0);
    expect(JSON.parse(anew.out).stages.map(({ skipped }: { skipped: boolean }) => skipped)).not.toContain(true);
  });
});

describe('a place that is not the output alone', () => {
  it('the source of an export, and an earlier result as run directory or comparison', async () => {
    const weights = await readFile(join(run.model, 'model.safetensors'));
    const same = { exitCode: 2, error: expect.stringContaining('apart from the model') };
    expect(await runCli(['export', run.model, '--onnx', run.model, '--overwrite'])).toMatchObject(same);
    const inside = join(run.model, 'model.safetensors');
    expect(await runCli(['export', run.model, '--gguf', inside, '--overwrite'])).toMatchObject(same);
    expect(await readFile(inside)).toEqual(weights);
    expect((await run.run()).exitCode).toBe(0);
    const before = await readdir(run.output);
    const elsewhere = ['-o', join(run.directory, 'b'), '--run', run.output];
    expect(JSON.parse((await run.run(...elsewhere)).out).error.code).toBe('run-mismatch');
    const compared = await runToError(run.compare(join('results', 'out'), '--overwrite'));
    expect(compared.code).toBe('run-mismatch');
    expect(await readdir(run.output)).toEqual(before);
  });
});
