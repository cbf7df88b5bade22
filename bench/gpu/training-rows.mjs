import { createRandomModel, percentile, randomTokenIds, withKeyValueHeads } from '@kvlr/benchmark';
import { distill, reconstructBlocks } from '@kvlr/recovery';
import { loadModel } from '@kvlr/runtime';

/** What is to be measured of training a model of a shape, its KV heads as one, and of windows through it, by name. */
export function trainingRows(shape, { length, windows, steps }) {
  const texts = (count, seed) =>
    Array.from({ length: count }, (_, n) => Int32Array.from(randomTokenIds(length, shape.vocabSize, seed + n)));
  const ofOneLayer = { ...shape, numLayers: 1, layers: shape.layers.slice(0, 1) };
  const request = (sizes) => ({
    ...{ teacher: createRandomModel(sizes), student: createRandomModel(withKeyValueHeads(sizes, 1)) },
    ...{ windows: texts(windows, 1), heldOutWindows: texts(2, 1001) },
  });
  const settings = { steps, evaluateEvery: steps, warmupSteps: 2 };
  const distilled = { ...settings, pieceLength: length / 2, piecesPerStep: 1, checkpointEvery: 0 };
  return {
    [`a step of block reconstruction, a layer, 4 windows of ${length}`]: () =>
      timeSteps((onEvent) => reconstructBlocks({ ...request(ofOneLayer), onEvent, settings })),
    [`a step of distillation, ${shape.numLayers} layers, a piece of ${length / 2}`]: () =>
      timeSteps((onEvent) => distill({ ...request(shape), onEvent, settings: distilled })),
    [`logits of a window of ${length}`]: () => timeWindows(createRandomModel(shape), texts(windows, 1)),
  };
}

/** Milliseconds from one step to the next, first and last left out. */
async function timeSteps(train) {
  const ends = [];
  await train(({ type, unit }) => type === 'progress' && unit === 'steps' && ends.push(performance.now()));
  const times = ends.slice(1, -1).map((end, step) => end - ends[step]);
  return { wall: percentile(times, 0.5) };
}

/** Milliseconds of a window's logits, the first one left out. */
async function timeWindows(source, windows) {
  const model = await loadModel(source, { backend: 'webgpu', weights: 'f32' });
  const times = [];
  for (const window of windows) {
    const begun = performance.now();
    await model.logits(window);
    times.push(performance.now() - begun);
  }
  model.dispose();
  const wall = percentile(times.slice(1), 0.5);
  return { wall, tokensPerSecond: (1000 * windows[0].length) / wall };
}
