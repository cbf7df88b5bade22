import { modelCard } from '@kvlr/report';
import { describe, expect, it } from 'vitest';
import { type CompressionRequest, compress } from './compress.ts';
import { parseRecipeYaml } from './recipe.ts';
import { jsonCodec } from './run/artefact.ts';
import { artefactNames, MemoryRunStore } from './run/store.ts';
import {
  keepWarnings,
  openTinyCheckpoint,
  readJson,
  readText,
  skippedStages,
  stopAt,
  tinyDistillation,
  tinyRecipe,
  tinyRun,
} from './testing/tiny-run.ts';

/** Names of what the two layers of a tiny model leave in a folder. */
const layersOf = (folder: string) => [0, 1].map((layer) => `${folder}layer-00${layer}.safetensors`);

async function request(changes: Partial<CompressionRequest> = {}): Promise<CompressionRequest> {
  return { ...(await tinyRun()), ...changes };
}

describe('compress', () => {
  it('halves the KV heads and evaluates the result', async () => {
    const store = new MemoryRunStore();
    const result = await compress(await request({ store, modelLocation: 'someone/tiny' }));
    expect(result.model.shape.numKeyValueHeads).toBe(2);
    expect(parseRecipeYaml(await readText(store, artefactNames.recipe)).source).toMatchObject({
      modelId: result.recipe.source!.modelId,
      location: 'someone/tiny',
    });
    expect(result.evaluation!.result.cache.bytesPerToken).toBe(2 * 2 * 2 * 8 * 4);
    expect(result.evaluation!.base.cache.bytesPerToken).toBe(2 * 2 * 4 * 8 * 4);
    expect(result.evaluation!.result.againstBase?.basePerplexity.value).toBeCloseTo(
      result.evaluation!.base.perplexity.value,
      6,
    );
    expect(result.report.reconstruction).toHaveLength(2);
    expect(result.report.spectra?.[0]?.keysAfterRope).toHaveLength(32);
    expect(await store.list()).toEqual(
      [
        artefactNames.recipe,
        artefactNames.events,
        ...layersOf(artefactNames.statistics),
        artefactNames.grouping,
        ...layersOf(artefactNames.factors),
        '5-recovery/layer-000.safetensors',
        '5-recovery/layer-001.safetensors',
        artefactNames.evaluation,
        artefactNames.reportData,
        artefactNames.reportHtml,
        artefactNames.reportMarkdown,
      ].sort(),
    );
  });

  it('keeps the same bytes in wide heads, reconstructed and distilled like others', async () => {
    const recipe = {
      ...tinyRecipe,
      headWidth: 2,
      recovery: { ...tinyRecipe.recovery, distillation: tinyDistillation },
    };
    const { model, evaluation, report, recipe: used } = await compress(await request({ recipe }));
    expect(model.shape).toMatchObject({ numKeyValueHeads: 1, headDim: 16 });
    expect(used).toMatchObject({ keyValueHeads: 1, headWidth: 2 });
    expect(evaluation!.result.cache.bytesPerToken).toBe(2 * 2 * 2 * 8 * 4);
    expect(report.reconstruction).toHaveLength(2);
    for (const { heldOutBefore, heldOutAfter } of report.reconstruction!) {
      expect(heldOutAfter).toBeLessThanOrEqual(heldOutBefore);
    }
    expect(evaluation!.result.perplexity.value).toBeGreaterThan(0);
  });

  it('changes nothing where heads are as wide as their groups', async () => {
    const recipe = { ...tinyRecipe, keyValueHeads: { keep: 1 }, headWidth: 4, recovery: { preset: 'none' as const } };
    const { evaluation, model } = await compress(await request({ recipe: { ...recipe, dtype: 'F32' } }));
    expect(model.shape).toMatchObject({ numKeyValueHeads: 1, headDim: 32 });
    expect(evaluation!.result.againstBase?.klDivergence.value).toBeLessThan(1e-6);
  });

  it('changes nothing when all KV heads are kept, and says so', async () => {
    const { warnings, onEvent } = keepWarnings();
    const { evaluation } = await compress(
      await request({
        onEvent,
        recipe: { ...tinyRecipe, keyValueHeads: { keep: 1 }, recovery: { preset: 'none' }, dtype: 'F32' },
      }),
    );
    expect(evaluation!.result.againstBase?.klDivergence.value).toBeLessThan(1e-6);
    expect(evaluation!.result.againstBase?.topOneAgreement.value).toBe(1);
    expect(evaluation!.rounding).toBeUndefined();
    expect(warnings).toContainEqual(expect.stringContaining('All 4 KV heads are kept'));
  });

  it('measures what rounding to F16 changes', async () => {
    const { evaluation, model, writtenModel } = await compress(
      await request({ recipe: { ...tinyRecipe, recovery: { preset: 'none' }, dtype: 'F16' } }),
    );
    expect(evaluation!.rounding?.dtype).toBe('F16');
    expect(evaluation!.rounding?.relativeToRange).toBeGreaterThan(0);
    expect(evaluation!.rounding?.relativeToRange).toBeLessThan(0.01);
    const name = model.tensorName('keyWeight', 0);
    const exact = await model.tensors.readFloat32(name);
    const rounded = await writtenModel.tensors.readFloat32(name);
    expect(rounded).not.toEqual(exact);
    const isRounded = (value: number, i: number) => Math.abs(value - exact[i]!) <= Math.abs(exact[i]!) / 2048 + 3e-8;
    expect(rounded.every(isRounded)).toBe(true);
  });

  it('skips what an earlier run has done, and repeats only what a changed recipe touches', async () => {
    const store = new MemoryRunStore();
    const first = await compress(await request({ store }));
    expect(skippedStages(first.stages)).toEqual([]);
    const second = await compress(await request({ store }));
    expect(skippedStages(second.stages)).toEqual(['statistics', 'grouping', 'factors', 'recovery', 'evaluation']);
    expect(second.evaluation).toEqual(first.evaluation);
    expect(first.stages.map(({ earlierSeconds }) => earlierSeconds)).toEqual(first.stages.map(() => 0));
    const [kept, done] = [true, false].map((wanted) => second.stages.filter(({ skipped }) => skipped === wanted));
    expect(done!.map(({ earlierSeconds }) => earlierSeconds)).toEqual(done!.map(() => 0));
    for (const { stage, earlierSeconds } of kept!) {
      expect(earlierSeconds).toBeGreaterThan(0);
      expect(earlierSeconds).toBeLessThanOrEqual(first.stages.find((earlier) => earlier.stage === stage)!.seconds);
    }
    const third = await compress(await request({ store, recipe: { ...tinyRecipe, method: 'rope-exact' } }));
    expect(skippedStages(third.stages)).toEqual(['statistics', 'grouping']);
    const other = await openTinyCheckpoint({ seed: 2 });
    expect(skippedStages((await compress(await request({ store, model: other }))).stages)).toEqual([]);
  });

  it('reports the most memory of all runs that did the work', async () => {
    const store = new MemoryRunStore();
    const peakOf = async (peakMemoryBytes: number) => {
      const { report } = await compress(await request({ store, environment: () => ({ peakMemoryBytes }) }));
      return report.environment.peakMemoryBytes;
    };
    expect(await peakOf(900)).toBe(900);
    expect(await peakOf(300)).toBe(900);
    expect(await peakOf(1200)).toBe(1200);
  });

  it('uses artefacts without a record of their time, and says that there is none', async () => {
    const store = new MemoryRunStore();
    await compress(await request({ store }));
    const { value, ...key } = JSON.parse(await readText(store, artefactNames.grouping));
    await store.write(artefactNames.grouping, await jsonCodec().encode(value, { key, effort: undefined }));
    const { stages, report } = await compress(await request({ store, environment: () => ({ peakMemoryBytes: 900 }) }));
    expect(report.environment).not.toHaveProperty('peakMemoryBytes');
    expect(stages.find(({ stage }) => stage === 'grouping')).toMatchObject({ skipped: true, earlierSeconds: null });
    expect(stages.find(({ stage }) => stage === 'factors')!.earlierSeconds).toBeGreaterThan(0);
  });

  it('makes again what was changed in the run directory', async () => {
    const store = new MemoryRunStore();
    const first = await compress(await request({ store }));
    const text = await readText(store, artefactNames.grouping);
    const changed = text.replace(/(\[\s*)0,/, '$11,');
    expect(changed).not.toBe(text);
    await store.write(artefactNames.grouping, new TextEncoder().encode(changed));
    const { stages, report } = await compress(await request({ store }));
    expect(skippedStages(stages)).not.toContain('grouping');
    expect(report.result).toEqual(first.report.result);
    expect(JSON.parse(await readText(store, artefactNames.grouping)).value).toEqual(JSON.parse(text).value);
  });

  it('stops when told to, and goes on after the last layer that was finished', async () => {
    const store = new MemoryRunStore();
    const uninterrupted = await compress(await request());
    // The first progress of the second layer: two steps a layer.
    const stopped = await request({ store, ...stopAt('recovery', 3) });
    await expect(compress(stopped)).rejects.toMatchObject({ code: 'aborted' });
    expect(await store.list()).toContain('5-recovery/layer-000.safetensors');
    expect(await store.list()).not.toContain('5-recovery/layer-001.safetensors');
    const resumed = await compress(await request({ store }));
    expect(skippedStages(resumed.stages)).toEqual(['statistics', 'grouping', 'factors']);
    const recovery = resumed.stages.find(({ stage }) => stage === 'recovery')!;
    expect(recovery.earlierSeconds).toBeGreaterThan(0);
    expect(resumed.evaluation!.result.perplexity.value).toBeCloseTo(
      uninterrupted.evaluation!.result.perplexity.value,
      5,
    );
  });

  it('asks a strategy of the caller for the groups', async () => {
    const interleaved = {
      strategy: () => [
        [0, 2],
        [1, 3],
      ],
      hash: 'interleaved',
    };
    const store = new MemoryRunStore();
    await compress(
      await request({ store, grouping: interleaved, recipe: { ...tinyRecipe, recovery: { preset: 'none' } } }),
    );
    expect(await readJson(store, artefactNames.grouping)).toEqual([
      [
        [0, 2],
        [1, 3],
      ],
      [
        [0, 2],
        [1, 3],
      ],
    ]);
  });

  it('warns where it is likely to need more memory than the machine has', async () => {
    const { warnings, onEvent } = keepWarnings();
    const recipe = { ...tinyRecipe, recovery: { preset: 'none' as const } };
    await compress(await request({ recipe, onEvent, machineMemoryBytes: 1e6 }));
    expect(warnings).toEqual([expect.stringMatching(/estimated to take .* of memory; the machine has 977 KiB/)]);
  });

  it('refuses windows longer than the context of the model before it works', async () => {
    const recipe = { ...tinyRecipe, calibration: { windowLength: 4096 } };
    await expect(compress(await request({ recipe }))).rejects.toMatchObject({ code: 'recipe-invalid' });
  });

  it('loads no model where the weights are enough and nothing is evaluated', async () => {
    const events: string[] = [];
    const { stages, evaluation, statistics, report, writtenModel } = await compress({
      ...(await tinyRun()),
      recipe: {
        ...tinyRecipe,
        method: 'svd-w',
        recovery: { preset: 'none' },
        evaluation: { windowsPerSource: 0, windowLength: 33 },
      },
      onEvent: (event) => void (event.type === 'progress' && events.push(event.stage)),
    });
    expect(stages.map(({ stage }) => stage)).toEqual(['inspect', 'grouping', 'factors', 'report']);
    expect([...new Set(events)]).toEqual(['grouping', 'factors']);
    expect([evaluation, statistics]).toEqual([undefined, undefined]);
    expect(report.result).toEqual({ modelId: writtenModel.id, cache: expect.objectContaining({ bytesPerToken: 256 }) });
    expect(modelCard(report)).toContain('Not evaluated: what it costs in quality is not known.');
  });
});
