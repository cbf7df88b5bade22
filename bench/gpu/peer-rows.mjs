import { measureInRounds, pairRounds, percentile } from '@kvlr/benchmark';
import { openKvlrDecoder } from '../engines/kvlr-decoder.mjs';
import { openOnnxOnDawn } from '../engines/onnx-on-dawn.mjs';

/** A decoder of each engine; both take turns, and every other round goes the other way. */
export async function peerRows(label, source, dtype, { context, tokens, rounds }) {
  const names = ['kvlr', 'onnxruntime-web'];
  const settings = { context, tokens, dtype };
  const open = [
    () => openKvlrDecoder(source, { ...settings, backend: 'webgpu' }),
    () => openOnnxOnDawn(source, { ...settings, dtype: dtype.toUpperCase() }),
  ];
  const rows = [];
  const opened = [];
  try {
    for (const one of open) opened.push(await one());
    console.error(`${label}, ${context} tokens: both are loaded`);
    const decoded = await measureInRounds(
      opened.map((decoder) => async () => (await decoder.decode()).times),
      { rounds },
    );
    const prompts = await measureInRounds(
      opened.map((decoder) => async () => [await decoder.prefill(context)]),
      { rounds },
    );
    for (const [index, name] of names.entries()) {
      const add = (what, samples, each) => {
        const wall = percentile(samples[index].flat(), 0.5);
        const ratio = index > 0 && pairRounds(samples[index], samples[0]);
        rows.push({
          name: `${label}, ${what}: ${name}`,
          ...{ wall, tokensPerSecond: (1000 * each) / wall },
          ...(ratio && { kvlrIsFaster: ratio }),
        });
      };
      add(`a token behind ${context}`, decoded, 1);
      add(`a prompt of ${context}`, prompts, context);
    }
  } catch (error) {
    const problem = String(error.message ?? error).split('\n')[0];
    rows.push({ name: `${label}, ${context} tokens, beside onnxruntime-web`, problem });
  } finally {
    for (const decoder of opened) await decoder.close();
  }
  return rows;
}
