import { CalibrationText } from '@kvlr/calibration';
import type { LayerStatistics } from '@kvlr/core';
import { expect, it } from 'vitest';
import { compress } from '../compress.ts';
import { ModelRunner } from '../models/runner.ts';
import { parseRecipe } from '../recipe.ts';
import { keepWarnings, openTinyCheckpoint, tinyRecipe, tinyRun, tinyTexts } from '../testing/tiny-run.ts';
import { recordOriginal } from './recordings.ts';

const halves = [
  [0, 1],
  [2, 3],
];

it("holds the heads' own attended values, as the statistics do", async () => {
  const model = await openTinyCheckpoint();
  const runner = await ModelRunner.create({ backend: 'cpu' });
  const text = new CalibrationText(tinyTexts.calibration, await model.tokenizer());
  const { calibration } = parseRecipe(tinyRecipe);
  const recordings = recordOriginal({ model, runner, calibration, text });
  const windows = text.sample({ count: 3, length: 32, seed: 0 });
  const provenance = { modelId: '', textHash: '', seed: 0 };
  const statistics: LayerStatistics[] = [];
  await runner.gatherStatistics(model, { windows, provenance, keep: async (layer) => void statistics.push(layer) });
  const width = 4 * 8;
  // Asked for an earlier layer, the text is passed again.
  for (const layer of [0, 1, 0]) {
    const groups = await recordings.attendedMoments(layer, halves, {});
    const { attendedSecondMoment } = statistics[layer]!;
    for (const { heads, queryHeads, moments } of groups!) {
      queryHeads.forEach((queryHead, place) => {
        const own = heads.indexOf(queryHead);
        for (let row = 0; row < 8; row++) {
          for (let column = 0; column < 8; column++) {
            const gathered = moments[place]![place]!.data[(own * 8 + row) * 16 + own * 8 + column]!;
            const expected = attendedSecondMoment[(queryHead * 8 + row) * width + queryHead * 8 + column]!;
            expect(gathered).toBeCloseTo(expected, 4);
          }
        }
      });
    }
  }
  await recordings.close();
});

it('changes the values of the method that asks for them, and its keys not', async () => {
  const run = async (method: string) =>
    compress({ ...(await tinyRun()), recipe: { ...tinyRecipe, method, recovery: { preset: 'none' } } });
  const [plain, attended] = [await run('rope-averaged'), await run('rope-averaged-attended')];
  const read = (result: typeof plain, role: 'keyWeight' | 'valueWeight') =>
    result.model.tensors.readFloat32(result.model.tensorName(role, 1));
  expect(await read(attended, 'keyWeight')).toEqual(await read(plain, 'keyWeight'));
  expect(await read(attended, 'valueWeight')).not.toEqual(await read(plain, 'valueWeight'));
});

it('is left out, with a warning, where it would not fit into memory', async () => {
  const model = await openTinyCheckpoint();
  const shape = { ...model.shape, numAttentionHeads: 4096, numKeyValueHeads: 4096 };
  const runner = await ModelRunner.create({ backend: 'cpu' });
  const { calibration } = parseRecipe(tinyRecipe);
  const text = new CalibrationText(tinyTexts.calibration, await model.tokenizer());
  const recordings = recordOriginal({ model: { ...model, shape }, runner, calibration, text });
  const { warnings, onEvent } = keepWarnings();
  const everyHead = [Array.from({ length: 4096 }, (_, head) => head)];
  expect(await recordings.attendedMoments(0, everyHead, { onEvent })).toBeUndefined();
  expect(warnings).toHaveLength(1);
});
