import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { compress } from '@kvlr/pipeline';
import { referenceModelDirectory, referenceTextPaths } from '@kvlr/reference-model/node';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { expect, it } from 'vitest';
import { readDocuments } from './support/compress-reference.ts';

/** As the goldens of @kvlr/pipeline, on real weights and on wasm: to five digits, since another processor may sum in another order. */
it('the embedded model comes out as before', async () => {
  await prepareNodeRuntime();
  const model = await openCheckpointDirectory(referenceModelDirectory);
  const { evaluation, report } = await compress({
    model,
    recipe: {
      keyValueHeads: 2,
      calibration: { windows: 4, windowLength: 128 },
      recovery: {
        preset: 'light',
        steps: 4,
        evaluateEvery: 2,
        trainingWindows: 4,
        heldOutWindows: 1,
        windowLength: 128,
      },
      evaluation: { windowsPerSource: 1, windowLength: 129 },
    },
    texts: {
      calibration: await readDocuments(referenceTextPaths.calibration),
      evaluation: await readDocuments(referenceTextPaths.validation),
    },
    runtime: { backend: 'wasm' },
  });
  await model.close();
  const figures = [
    evaluation!.base.perplexity.value,
    evaluation!.result.perplexity.value,
    evaluation!.result.againstBase!.klDivergence.value,
    ...report.reconstruction!.map(({ heldOutAfter }) => heldOutAfter),
  ];
  const expected = [26.7309, 30.4333, 0.141634, 0.0722752, 0.897564, 0.292763, 0.196791, 0.507121, 0.315717];
  expect(figures).toHaveLength(expected.length);
  const worst = Math.max(...figures.map((figure, place) => Math.abs(figure / expected[place]! - 1)));
  expect(worst, `${figures.join(', ')} in place of ${expected.join(', ')}`).toBeLessThan(1e-5);
});
