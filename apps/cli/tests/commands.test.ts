import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { sha256 } from '@kvlr/core';
import { parseRecipeYaml } from '@kvlr/pipeline';
import { formatMeasurement } from '@kvlr/report';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { examplePath, runCli, runJson, runToError, TinyRun } from './support/tiny-run.ts';

const interleaved = examplePath('grouping/interleaved.mjs');
const strongestHead = examplePath('methods/strongest-head.mjs');

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const { directory, model } = tiny;

describe('kvlr --help', () => {
  it('names every command, examples and exit codes', async () => {
    const { exitCode, out } = await runCli([]);
    expect(exitCode).toBe(0);
    for (const command of ['compress', 'inspect', 'eval', 'compare', 'generate', 'export', 'demo']) {
      expect(out).toMatch(new RegExp(`^ {2}${command} `, 'm'));
    }
    expect(out).toContain('Examples:');
    expect(out).toMatch(/Exit codes: 0 done, 1 failed, 2 wrong usage .*130 stopped/s);
  });

  it('suggests the command that was meant', async () => {
    expect((await runCli(['compres'])).error).toContain('Did you mean compress?');
  });
});

describe('kvlr inspect', () => {
  it('states the exact size of the cache', async () => {
    const { out } = await runCli(['inspect', model]);
    expect(out).toContain('512 bytes = 2 x 2 layers x 4 KV heads x 8 x 4 bytes');
    expect((await runJson(['inspect', model])).cache.bytesPerToken).toBe(2 * 2 * 4 * 8 * 4);
  });

  it('measures spectra on request', async () => {
    const texts = ['--calibration', tiny.calibration, '--windows', '2', '--backend', 'cpu', '--workers', '1'];
    const { spectra } = await runJson(['inspect', model, '--spectra', ...texts]);
    expect(spectra).toHaveLength(2);
    expect(spectra[0].values).toHaveLength(32);
    const { firstQuarter, effectiveRank } = spectra[0].energy.keysAfterRope;
    expect(firstQuarter).toBeGreaterThan(0.25);
    expect(effectiveRank).toBeLessThan(32);
    const { out } = await runCli(['inspect', model, '--spectra', ...texts]);
    expect(out).toMatch(/keys after RoPE, 1\/4 .*rank/);
    expect(out).toMatch(/A quarter of the directions holds/);
  });

  it('opens the embedded model without an argument', async () => {
    const { cache } = await runJson(['inspect']);
    expect(cache.bytesPerToken).toBe(2 * 6 * 8 * 32 * 2);
  });
});

describe('kvlr compress', () => {
  it('writes a checkpoint that is evaluated as the report says, with every other tensor untouched', async () => {
    const result = await runJson(tiny.compress('half', '--kv-heads', '2'));
    expect(result.report.result.cache.bytesPerToken).toBe(2 * 2 * 2 * 8 * 4);
    expect(result.peakMemoryBytes).toBeGreaterThan(1e6);

    const source = await openCheckpointDirectory(model);
    const compressed = await openCheckpointDirectory(join(directory, 'half'));
    expect(compressed.config.num_key_value_heads).toBe(2);
    const untouched = source.tensors.list().filter(({ name }) => !/self_attn/.test(name));
    for (const { name } of untouched) {
      expect(await compressed.tensors.readBytes(name), name).toEqual(await source.tensors.readBytes(name));
    }
    const recipe = parseRecipeYaml(await readFile(join(directory, 'half', 'recipe.yaml'), 'utf8'));
    expect(recipe).toMatchObject({ keyValueHeads: 2, source: { modelId: source.id } });
    await Promise.all([source.close(), compressed.close()]);

    const card = await readFile(join(directory, 'half', 'README.md'), 'utf8');
    expect(card).toContain('4 to 2 KV heads');
    expect(card).toContain(formatMeasurement(result.report.base.perplexity));
    expect(card).toContain(formatMeasurement(result.report.result.perplexity));
    expect(card).toContain('stay under its licence: mit.');
    expect(card).not.toContain(directory);

    const harness = await runJson(tiny.evaluate(join(directory, 'half'), '--against', model));
    const { perplexity, againstBase } = result.report.result;
    expect(harness.results.kvlr_texts['perplexity,none']).toBeCloseTo(perplexity.value, 4);
    expect(harness.results.kvlr_texts['kl_divergence,none']).toBeCloseTo(againstBase.klDivergence.value, 5);
    const names = await readdir(join(directory, 'half.run'));
    expect(names).toEqual(expect.arrayContaining(['report.html', 'report.md', 'events.jsonl', 'recipe.yaml']));
  });

  it('prints cache sizes, time per stage and peak memory for people, and progress elsewhere', async () => {
    const { out, error, exitCode } = await runCli(tiny.compress('people', '--recover', 'none', '--dtype', 'F16'));
    expect(exitCode).toBe(0);
    expect(out).toMatch(/KV cache per token\s+512 B\s+256 B/);
    expect(out).toMatch(/Time +inspect .*statistics .*evaluation /);
    expect(out).toMatch(/Peak memory +\d+/);
    expect(out).toContain('Rounding to F16');
    expect(error).toMatch(/^statistics +Second moments/m);
    expect(error).toContain('Backend cpu');
  });

  it('takes a grouping of one’s own', async () => {
    await runJson(tiny.compress('interleaved', '--grouping', interleaved, '--recover', 'none'));
    const saved = JSON.parse(await readFile(join(directory, 'interleaved.run', '3-grouping.json'), 'utf8'));
    expect(saved.value[0]).toEqual([
      [0, 2],
      [1, 3],
    ]);
  });

  it('takes a method of one’s own, and records which', async () => {
    await runJson(tiny.compress('strongest', '--method', strongestHead, '--recover', 'none'));
    const recipe = parseRecipeYaml(await readFile(join(directory, 'strongest', 'recipe.yaml'), 'utf8'));
    expect(recipe.method).toBe(strongestHead);
    expect(recipe.source?.methodHash).toBe(await sha256(await readFile(strongestHead)));
    // What the method promises: each shared head is one of the group's two heads as it was.
    const readKeys = async (path: string) => {
      const checkpoint = await openCheckpointDirectory(path);
      const keys = await checkpoint.tensors.readFloat32(checkpoint.tensorName('keyWeight', 0));
      await checkpoint.close();
      return { keys, headSize: checkpoint.shape.headDim * checkpoint.shape.hiddenSize };
    };
    const { keys: kept, headSize } = await readKeys(join(directory, 'strongest'));
    const { keys: all } = await readKeys(model);
    const candidates = [0, 1].map((head) => all.slice(head * headSize, (head + 1) * headSize));
    expect(candidates).toContainEqual(kept.slice(0, headSize));
  });

  it('repeats a result from the recipe that lies beside it', async () => {
    await runJson(tiny.compress('again', '--recipe', join(directory, 'half', 'recipe.yaml')));
    const weights = (name: string) => readFile(join(directory, name, 'model.safetensors'));
    expect(await weights('again')).toEqual(await weights('half'));
  });

  it('takes a recipe that comes with kvlr by its name', async () => {
    const { estimate } = await runJson(['compress', '--recipe', 'best', '--dry-run', '--backend', 'cpu']);
    expect(estimate.keyValueHeads).toBe(2);
    const { out } = await runCli(['compress', '--help']);
    expect(out).toMatch(/Recipes .*best, .*default, .*quick/s);
  });

  it('only estimates with --dry-run', async () => {
    const before = (await readdir(directory)).sort();
    const { estimate } = await runJson(tiny.compress('dry', '--dry-run'));
    expect(estimate.keyValueHeads).toBe(2);
    for (const figure of ['memoryBytes', 'outputBytes', 'runDirectoryBytes', 'seconds']) {
      expect(estimate[figure], figure).toBeGreaterThan(0);
    }
    expect((await readdir(directory)).sort()).toEqual(before);
  });

  it('ends with 130 when stopped, leaves no output, and goes on from there', async () => {
    const stop = new AbortController();
    const running = runCli(tiny.compress('stopped', '--json'), stop.signal);
    const written = () => readdir(join(directory, 'stopped.run'), { recursive: true }).catch((): string[] => []);
    await vi.waitUntil(async () => (await written()).includes(join('1-statistics', 'layer-001.safetensors')), {
      timeout: 20_000,
      interval: 1,
    });
    stop.abort();
    const { exitCode, out } = await running;
    expect(exitCode).toBe(130);
    expect(JSON.parse(out).error).toMatchObject({ code: 'aborted', hint: expect.stringContaining('same command') });
    expect(await readdir(directory)).not.toContain('stopped');
    const { stages } = await runJson(tiny.compress('stopped'));
    const kept = stages.filter((stage: { skipped: boolean }) => stage.skipped);
    expect(kept.map(({ stage }: { stage: string }) => stage)).toContain('statistics');
  });
});

describe('kvlr generate', () => {
  it('continues a prompt, equally for equal seeds', async () => {
    const argumentList = [
      'generate',
      model,
      '--prompt',
      'The sea',
      '-n',
      '8',
      '--temperature',
      '1',
      '--backend',
      'cpu',
    ];
    const first = await runJson([...argumentList, '--seed', '1']);
    expect(first.tokenIds.length).toBeLessThanOrEqual(8);
    expect(await runJson([...argumentList, '--seed', '1'])).toMatchObject({
      tokenIds: first.tokenIds,
      text: first.text,
    });
    const { out } = await runCli([...argumentList, '--seed', '1']);
    expect(out).toBe(`The sea${first.text}\n`);
  });
});

describe('kvlr export', () => {
  it('writes a GGUF file, and replaces it only when told to', async () => {
    const file = join(directory, 'tiny.gguf');
    await runJson(['export', model, '--gguf', file]);
    expect((await readFile(file)).subarray(0, 4).toString()).toBe('GGUF');
    expect(await runToError(['export', model, '--gguf', file])).toMatchObject({ code: 'file-exists' });
    await runJson(['export', model, '--gguf', file, '--overwrite']);
  });
});
