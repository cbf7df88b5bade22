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
  const rows = {};
  for (const recordSteps of [true, false]) {
    const how = recordSteps ? 'recorded' : 'one operation after another';
    rows[`a step of block reconstruction, a layer, 4 windows of ${length}, ${how}`] = () =>
      timeSteps((onEvent) => reconstructBlocks({ ...request(ofOneLayer), onEvent, recordSteps, settings }), steps);
    rows[`a step of distillation, ${shape.numLayers} layers, a piece of ${length / 2}, ${how}`] = () =>
      timeSteps((onEvent) => distill({ ...request(shape), onEvent, recordSteps, settings: distilled }), steps);
  }
  rows[`logits of a window of ${length}`] = () => timeWindows(createRandomModel(shape), texts(windows, 1));
  return rows;
}

/** Milliseconds of a step: from the first one's end to the end of the look behind the last, which waits for all of them. */
async function timeSteps(train, steps) {
  const ends = [];
  await train(({ type, unit }) => type === 'progress' && unit === 'steps' && ends.push(performance.now()));
  return { wall: (ends[steps - 1] - ends[0]) / (steps - 1) };
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
