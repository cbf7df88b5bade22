import { readFile } from 'node:fs/promises';
import { openSource } from '@kvlr/checkpoint/node';
import { distill } from '@kvlr/recovery';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { loadOnnxTrainingModel } from '../packages/engine-onnx/dist/index.js';
await prepareNodeRuntime();
const native = process.argv[4] ? { load: (source, roles, { signal }) => loadOnnxTrainingModel(source, roles, { threads: 1, signal }) } : undefined;
const W = JSON.parse(await readFile('/tmp/w15scratch/windows.json', 'utf8'));
const teacher = await openSource(referenceModelDirectory);
const student = await openSource(process.argv[2] ?? '/tmp/w15out/quick-50');
const steps = Number(process.argv[3] ?? 20);
let t0, c0;
await distill({ teacher, student, backend: 'wasm', native, windows: W.training.slice(0, 40).map((x) => Int32Array.from(x)), heldOutWindows: [Int32Array.from(W.heldOut[0])],
  settings: { steps, evaluateEvery: steps, checkpointEvery: 0, warmupSteps: 5 },
  onEvent: (e) => { if (e.type === 'progress') { if (e.completed === 3) { c0 = process.cpuUsage(); t0 = performance.now(); } if (e.completed === steps && c0) { const c = process.cpuUsage(c0); console.log('cpu ms a step', (c.user + c.system) / 1e3 / (steps - 3), 'wall', (performance.now() - t0) / (steps - 3)); } } else console.log(e.message ?? ''); } }).then((r) => console.log(JSON.stringify(r.points)));
